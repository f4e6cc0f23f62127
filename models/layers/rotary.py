"""Rotary positions: each pair of a head's channels turned by an angle.

Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
"""

from __future__ import annotations

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


def grid_angles(frame: jax.Array, rows: int, cols: int, head_dim: int) -> jax.Array:
    """Angles of a video's tokens, frame-major.

    A head's channels are divided among frame, row and column, see `frame_channels`.

    Args:
        frame: (B, frames, channels of a frame / 2) angles of the frames' positions.
        rows: tokens down a frame, at positions from 0.
        cols: tokens across.
        head_dim: channels of a head.

    Returns:
        (B, frames * rows * cols, head_dim / 2) float32, radians.
    """
    batch, frames, _ = frame.shape
    side = (head_dim - frame_channels(head_dim)) // 2
    parts = (
        frame[:, :, None, None],
        jnp.asarray(axis_angles(np.arange(rows), side))[None, None, :, None],
        jnp.asarray(axis_angles(np.arange(cols), side))[None, None, None, :],
    )
    shape = (batch, frames, rows, cols)
    parts = [jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    angles = jnp.concatenate(parts, axis=-1)
    return angles.reshape(batch, frames * rows * cols, head_dim // 2)


def frame_channels(head_dim: int) -> int:
    """How many of a head's channels carry the position of the frame."""
    return head_dim - 4 * (head_dim // 6)
