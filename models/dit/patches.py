"""Patches in, patches out."""

from __future__ import annotations

import jax


def patchify(x: jax.Array, patch_size: int) -> jax.Array:
    """Cuts samples into patches.

    Args:
        x: (B, H, W, C).
        patch_size: rows and columns of a patch.

    Returns:
        (B, h * w, C * rows * columns), row by row; channels slowest inside, as in the
        convolution that the published weights have.
    """
    batch, height, width, channels = x.shape
    p = patch_size
    x = x.reshape(batch, height // p, p, width // p, p, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, channels * p * p)


def unpatchify(x: jax.Array, patch_size: int) -> jax.Array:
    """Puts the patches of square samples together.

    Args:
        x: (B, h * h, rows * columns * C); channels fastest inside, unlike what
            `patchify` makes: so the published weights have it.
        patch_size: rows and columns of a patch.

    Returns:
        (B, h * rows, h * columns, C).
    """
    batch, tokens, values = x.shape
    p, side = patch_size, round(tokens**0.5)
    x = x.reshape(batch, side, side, p, p, values // (p * p))
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, side * p, side * p, -1)
