"""Patches in, patches out: of pictures, and of videos.

Pictures have their channels last and videos first, as the networks that take them do.
"""

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


def patchify_video(x: jax.Array, patch_size: tuple[int, int, int]) -> jax.Array:
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


def unpatchify_video(
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
