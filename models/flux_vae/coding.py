"""Pictures to latents, and latents to pictures, each as one compiled program."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .network.config import FluxVAEConfig
from .network.parameters import bind


def encode(config: FluxVAEConfig, weights: Any, pictures: Any) -> jax.Array:
    """Encodes pictures; the mean of what the encoder says.

    Args:
        config: the autoencoder's.
        weights: as from `load_params`; any floating dtype.
        pictures: (B, H, W, 3) uint8, or floats in [-1, 1]; rows and columns multiples
            of the stride.

    Returns:
        float32 (B, C, h, w), normalised.

    Raises:
        ValueError: for pictures of another shape.
    """
    shape = np.shape(pictures)
    step = config.stride
    if len(shape) != 4 or shape[3] != config.in_channels or 0 in shape:
        raise ValueError(
            f"pictures have shape {shape}; give (B, rows, columns, "
            f"{config.in_channels}), channels last"
        )
    if shape[1] % step or shape[2] % step:
        raise ValueError(
            f"pictures are {shape[1]} x {shape[2]}; rows and columns must be multiples "
            f"of {step}"
        )
    return _encode(config, weights, jnp.asarray(pictures))


def decode(config: FluxVAEConfig, weights: Any, latents: Any) -> jax.Array:
    """Decodes latents.

    Args:
        config: the autoencoder's.
        weights: likewise.
        latents: (B, C, h, w), normalised.

    Returns:
        float32 (B, H, W, 3), about [-1, 1].

    Raises:
        ValueError: for latents of another shape.
    """
    shape = np.shape(latents)
    if len(shape) != 4 or shape[1] != config.latent_channels or 0 in shape:
        raise ValueError(
            f"latents have shape {shape}; give (B, {config.latent_channels}, rows, "
            "columns)"
        )
    return _decode(config, weights, jnp.asarray(latents))


def as_pixels(pictures: jax.Array) -> jax.Array:
    """Pictures in [-1, 1] as uint8, rounded as diffusers does it."""
    levels = jnp.clip(pictures / 2 + 0.5, 0, 1) * 255
    return jnp.round(levels).astype(jnp.uint8)


@partial(jax.jit, static_argnames="config")
def _encode(config: FluxVAEConfig, weights: Any, pictures: jax.Array) -> jax.Array:
    if pictures.dtype == jnp.uint8:
        pictures = pictures.astype(jnp.float32) / 127.5 - 1.0
    return bind(config, weights).encode(pictures).astype(jnp.float32)


@partial(jax.jit, static_argnames="config")
def _decode(config: FluxVAEConfig, weights: Any, latents: jax.Array) -> jax.Array:
    return bind(config, weights).decode(latents).astype(jnp.float32)
