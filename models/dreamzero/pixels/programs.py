"""What the VAE's weights are asked for, each as one compiled program."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ...wan_vae import Tiles, WanVAEConfig, decode, decode_tiled, encode, encode_tiled
from . import windows
from .canvas import PictureSizes, as_video


@functools.partial(jax.jit, static_argnums=(0, 1, 2), static_argnames="tiles")
def begin_window(
    config: WanVAEConfig,
    sizes: PictureSizes,
    frames: int,
    weights: Any,
    canvases: jax.Array,
    tiles: Tiles | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Encodes the frame that a window begins with.

    Args:
        config: the VAE's.
        sizes: of the pictures.
        frames: of the video to encode, zeros behind the first.
        weights: the VAE's.
        canvases: uint8 (B, T, H, W, 3).
        tiles: how pictures are cut that do not fit; None for whole ones.

    Returns:
        The frame, float32 (B, 3, H', W') in [-1, 1], for the image encoder; and the
        latents, float32 (B, z, 1 + (frames - 1) / 4, h, w).
    """
    first = as_video(sizes, windows.seed(canvases))
    video = windows.with_zeros(first, frames)
    latents = _encoded(config, weights, video, tiles)
    return first[:, :, 0], latents.astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="tiles")
def go_on(
    config: WanVAEConfig,
    sizes: PictureSizes,
    weights: Any,
    canvases: jax.Array,
    tiles: Tiles | None = None,
) -> jax.Array:
    """Encodes the frames since the last call.

    Args:
        config: the VAE's.
        sizes: of the pictures.
        weights: the VAE's.
        canvases: uint8 (B, T, H, W, 3), T of 4, 8 or 9.
        tiles: see `begin_window`.

    Returns:
        float32 (B, z, 3, h, w); a window goes on with the last two.
    """
    video = windows.for_latents(as_video(sizes, canvases))
    return _encoded(config, weights, video, tiles).astype(jnp.float32)


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
        tiles: see `begin_window`.

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


def _encoded(
    config: WanVAEConfig, weights: Any, video: jax.Array, tiles: Tiles | None
) -> jax.Array:
    if tiles is None:
        return encode(config, weights, video)
    return encode_tiled(config, weights, video, tiles)
