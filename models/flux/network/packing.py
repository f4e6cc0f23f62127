"""Latents as tokens of 2 x 2, and back."""

from __future__ import annotations

import jax

from ...layers.patches import patchify_video
from ..sizes import PATCH


def grid_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of tokens, of latents (B, C, H, W).

    Raises:
        ValueError: if they are no whole number.
    """
    height, width = shape[-2:]
    if height % PATCH or width % PATCH:
        raise ValueError(
            f"a latent's rows and columns must be multiples of {PATCH}, got "
            f"{(height, width)}"
        )
    return height // PATCH, width // PATCH


def packed(latent: jax.Array) -> jax.Array:
    """Packs latents (B, C, H, W) into tokens (B, H/2 * W/2, 4 C), row by row.

    Inside a token channels are slowest and columns fastest.

    Raises:
        ValueError: see `grid_of`.
    """
    grid_of(latent.shape)
    return patchify_video(latent[:, :, None], (1, PATCH, PATCH))


def unpacked(tokens: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """The inverse of `packed`.

    Args:
        tokens: (B, rows * columns, 4 C).
        grid: rows and columns of tokens.

    Returns:
        (B, C, 2 rows, 2 columns).
    """
    rows, cols = grid
    x = tokens.reshape(len(tokens), rows, cols, -1, PATCH, PATCH)
    x = x.transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(*x.shape[:2], rows * PATCH, cols * PATCH)
