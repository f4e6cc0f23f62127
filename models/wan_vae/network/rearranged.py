"""Pixels as channels and back: Wan 2.2's folding, and the shortcuts of its levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .config import Factors


def folded(x: jax.Array, fold: int) -> jax.Array:
    """Pixels of small squares as channels.

    Args:
        x: (B, T, H, W, C).
        fold: rows and columns of a square.

    Returns:
        (B, T, H / fold, W / fold, C * fold * fold), in the order channel, column, row,
        the row fastest.
    """
    batch, frames, height, width, channels = x.shape
    rows, columns = height // fold, width // fold
    x = x.reshape(batch, frames, rows, fold, columns, fold, channels)
    x = x.transpose(0, 1, 2, 4, 6, 5, 3)
    return x.reshape(batch, frames, rows, columns, channels * fold * fold)


def unfolded(x: jax.Array, fold: int) -> jax.Array:
    """The inverse of `folded`."""
    batch, frames, rows, columns, values = x.shape
    x = x.reshape(batch, frames, rows, columns, values // fold**2, fold, fold)
    x = x.transpose(0, 1, 2, 6, 3, 5, 4)
    return x.reshape(batch, frames, rows * fold, columns * fold, -1)


def averaged(x: jax.Array, out: int, by: Factors) -> jax.Array:
    """The shortcut of a level of the encoder: neighbours in channels, then means.

    Args:
        x: (B, T, h, w, C).
        out: channels to be.
        by: places that become one. Frames of zeros stand in front of a single one.

    Returns:
        (B, ceil(T / time), h / space, w / space, out).
    """
    x = jnp.pad(x, ((0, 0), (-x.shape[1] % by.time, 0), (0, 0), (0, 0), (0, 0)))
    batch, frames, height, width, channels = x.shape
    times, rows, columns = frames // by.time, height // by.space, width // by.space
    x = x.reshape(batch, times, by.time, rows, by.space, columns, by.space, channels)
    x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, times, rows, columns, out, -1).mean(axis=-1)


def copied(x: jax.Array, out: int, by: Factors, first: bool) -> jax.Array:
    """The shortcut of a level of the decoder: channels copied into places.

    Args:
        x: (B, T, h, w, C).
        out: channels to be.
        by: places that one becomes.
        first: whether the stream begins; its first frame is one for itself.

    Returns:
        (B, T * time, h * space, w * space, out); less ``time - 1`` frames if first.
    """
    batch, frames, height, width, channels = x.shape
    x = jnp.repeat(x, out * by.cells // channels, axis=-1)
    x = x.reshape(batch, frames, height, width, out, by.time, by.space, by.space)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4)
    height, width = height * by.space, width * by.space
    x = x.reshape(batch, frames * by.time, height, width, out)
    return x[:, by.time - 1 :] if first else x
