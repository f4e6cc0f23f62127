"""What the VAE's weights are asked for, each as one compiled program."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ...encoders.programs import encoded
from ...wan_vae import Tiles, WanVAEConfig
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
    latents = encoded(config, weights, video, tiles)
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
    return encoded(config, weights, video, tiles).astype(jnp.float32)
