"""Rotary positions: each pair of a head's channels turned by an angle.

Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .precision import at_least_float32

_THETA = 1e4


class Rotation(NamedTuple):
    """The rotation of every token.

    Attributes:
        cos: (B or 1, tokens, head_dim / 2) float32.
        sin: like ``cos``.
    """

    cos: jax.Array
    sin: jax.Array


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Turns each pair of channels (2i, 2i + 1) by its token's angle i.

    Args:
        x: (B, tokens, heads, head_dim).
        rotation: of the tokens.

    Returns:
        Array like ``x``; the products are taken in float32 at least.
    """
    wide = at_least_float32(x)
    even, odd = wide[..., 0::2], wide[..., 1::2]
    cos, sin = rotation.cos[:, :, None], rotation.sin[:, :, None]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)


def rotation(angles: jax.Array) -> Rotation:
    """Cosine and sine of angles in radians."""
    return Rotation(jnp.cos(angles), jnp.sin(angles))


def axis_angles(positions: np.ndarray, channels: int) -> np.ndarray:
    """Angles (positions, channels / 2) float32 within a turn, from float64."""
    frequency = _THETA ** (-np.arange(0, channels, 2, dtype=np.float64) / channels)
    angles = np.outer(positions.astype(np.float64), frequency)
    return np.remainder(angles, 2 * np.pi).astype(np.float32)


def over_grid(frame: jax.Array, row: jax.Array, col: jax.Array) -> jax.Array:
    """Lays what belongs to frames, rows and columns out over a video's tokens.

    Args:
        frame: (B, frames, f channels).
        row: (rows, r channels).
        col: (columns, c channels).

    Returns:
        (B, frames * rows * columns, f + r + c channels), frame-major.
    """
    parts = (frame[:, :, None, None], row[None, None, :, None], col[None, None, None])
    shape = (*frame.shape[:2], len(row), len(col))
    parts = [jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    laid = jnp.concatenate(parts, axis=-1)
    return laid.reshape(len(frame), -1, laid.shape[-1])


def grid_rotation(grid: tuple[int, int, int], head_dim: int) -> Rotation:
    """The rotation of a video's tokens, at positions from 0.

    Args:
        grid: tokens per (frames, rows, columns).
        head_dim: channels of a head.

    Returns:
        The rotation, of a batch of 1.
    """
    channels = (frame_channels(head_dim), *(side_channels(head_dim),) * 2)
    angles = [
        axis_angles(np.arange(count), width)
        for count, width in zip(grid, channels, strict=True)
    ]

    def laid(function: Callable[[np.ndarray], np.ndarray]) -> jax.Array:
        frame, row, col = (jnp.asarray(function(x)) for x in angles)
        return over_grid(frame[None], row, col)

    return Rotation(laid(np.cos), laid(np.sin))


def side_channels(head_dim: int) -> int:
    """How many of a head's channels carry the row of a token; the column likewise."""
    return 2 * (head_dim // 6)


def frame_channels(head_dim: int) -> int:
    """How many carry the frame: the rest."""
    return head_dim - 2 * side_channels(head_dim)
