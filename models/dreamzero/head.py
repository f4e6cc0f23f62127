"""Patches in, patches out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .block import per_token
from .config import DreamZeroConfig
from .layers import Linear, layer_norm


class Head(nnx.Module):
    """Video tokens as patches of velocity.

    Attributes:
        modulation: (2, D) shift and scale, added to the time embedding.
        proj: D to the values of a patch.
        eps: of the normalisation.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.modulation = nnx.Param(jnp.zeros((2, config.dim)))
        self.proj = Linear(config.dim, config.patch_dim, rngs=rngs, init=zeros)
        self.eps = config.eps

    def __call__(self, x: jax.Array, e: jax.Array) -> jax.Array:
        """Maps tokens to patches.

        Args:
            x: (B, S, D).
            e: (B, frames, D) time embedding of the frames, or (B, 1, D) for all.

        Returns:
            (B, S, values of a patch).
        """
        m = e[:, :, None] + self.modulation.get_value().astype(e.dtype)
        spans = ((e.shape[1], x.shape[1] // e.shape[1]),)
        shift, scale = per_token(m[:, :, 0], spans), per_token(m[:, :, 1], spans)
        return self.proj(layer_norm(x, self.eps) * (1 + scale) + shift)


def patchify(x: jax.Array, patch_size: tuple[int, int, int]) -> jax.Array:
    """Cuts latents into patches.

    Args:
        x: (B, C, f, H, W).
        patch_size: (1, rows, columns).

    Returns:
        (B, f * h * w, C * rows * columns), frame-major; channels slowest inside.
    """
    batch, channels, frames, height, width = x.shape
    _, ph, pw = patch_size
    x = x.reshape(batch, channels, frames, height // ph, ph, width // pw, pw)
    x = x.transpose(0, 2, 3, 5, 1, 4, 6)
    return x.reshape(batch, -1, channels * ph * pw)


def unpatchify(
    x: jax.Array, grid: tuple[int, int, int], patch_size: tuple[int, int, int]
) -> jax.Array:
    """Puts patches together.

    Args:
        x: (B, f * h * w, rows * columns * C), channels fastest inside.
        grid: (f, h, w) tokens.
        patch_size: (1, rows, columns).

    Returns:
        (B, C, f, h * rows, w * columns).
    """
    frames, rows, cols = grid
    _, ph, pw = patch_size
    x = x.reshape(x.shape[0], frames, rows, cols, ph, pw, -1)
    x = x.transpose(0, 6, 1, 2, 4, 3, 5)
    return x.reshape(*x.shape[:3], rows * ph, cols * pw)
