"""What a VAE's weights are asked for, each as one compiled program."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ..wan_vae import Tiles, WanVAEConfig, decode, decode_tiled, encode, encode_tiled


@functools.partial(jax.jit, static_argnums=0, static_argnames="tiles")
def latents_of(
    config: WanVAEConfig,
    weights: Any,
    video: jax.Array,
    tiles: Tiles | None = None,
) -> jax.Array:
    """Encodes films.

    Args:
        config: the VAE's.
        weights: its weights.
        video: (B, 3, F, H, W) in [-1, 1].
        tiles: how pictures are cut that do not fit; None for whole ones.

    Returns:
        float32 (B, z, 1 + (F - 1) / 4, h, w).
    """
    return encoded(config, weights, video, tiles).astype(jnp.float32)


def encoded(
    config: WanVAEConfig, weights: Any, video: jax.Array, tiles: Tiles | None
) -> jax.Array:
    """What `latents_of` does, inside of another program, in the VAE's dtype."""
    if tiles is None:
        return encode(config, weights, video)
    return encode_tiled(config, weights, video, tiles)


@functools.partial(jax.jit, static_argnums=0, static_argnames="tiles")
def film_of(
    config: WanVAEConfig,
    weights: Any,
    latents: jax.Array,
    tiles: Tiles | None = None,
) -> jax.Array:
    """Decodes latents as one stream.

    Args:
        config: the VAE's.
        weights: its weights.
        latents: (B, z, n, h, w).
        tiles: see `latents_of`.

    Returns:
        uint8 (B, 4 n - 3, H, W, 3), truncated as in the original.
    """
    if tiles is None:
        video = decode(config, weights, latents)
    else:
        video = decode_tiled(config, weights, latents, tiles)
    video = jnp.clip(video.astype(jnp.float32), -1, 1)
    levels = jnp.clip((video + 1) * 127.5, 0, 255).astype(jnp.uint8)
    return jnp.moveaxis(levels, 1, -1)
