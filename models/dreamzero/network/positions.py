"""Rotary positions of video tokens (frame, row, column) and of actions and states.

Positions may be traced, one window position per sample, so the angles come from
tables: made in float64 and reduced to one turn when the program is traced.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ...layers.rotary import axis_angles, frame_channels, over_grid, side_channels
from .config import DreamZeroConfig

MAX_FRAMES = 1024
"""Latent frames that have a position; later ones give NaN, not a wrong angle."""


def video_angles(
    config: DreamZeroConfig, start_frame: jax.Array, grid: tuple[int, int, int]
) -> jax.Array:
    """Angles of video tokens, frame-major.

    Args:
        config: gives the head's channels.
        start_frame: (B or 1,) int32 position of the first frame.
        grid: tokens per (frames, rows, columns).

    Returns:
        (B or 1, tokens, head_dim / 2) float32, radians.
    """
    frames, rows, cols = grid
    time = jnp.asarray(
        axis_angles(np.arange(MAX_FRAMES), frame_channels(config.head_dim))
    )
    frame = start_frame[:, None] + jnp.arange(frames, dtype=jnp.int32)[None]
    side = side_channels(config.head_dim)
    row, col = (jnp.asarray(axis_angles(np.arange(n), side)) for n in (rows, cols))
    return over_grid(jnp.take(time, frame, axis=0), row, col)


def register_angles(config: DreamZeroConfig, start_frame: jax.Array) -> jax.Array:
    """Angles of the action and state tokens of one block.

    They have positions of their own: those of block b count on from b times the
    tokens of a block. The first frame of a sequence is no block of its own.

    Args:
        config: gives tokens per block and the head's channels.
        start_frame: (B or 1,) int32 position of the block's first frame, >= 1.

    Returns:
        (B or 1, actions + states, head_dim / 2) float32, radians.
    """
    block = jnp.maximum(start_frame - 1, 0) // config.num_frame_per_block
    blocks = np.arange(MAX_FRAMES // config.num_frame_per_block + 1)
    parts = []
    for per_block in (config.num_action_per_block, config.num_state_per_block):
        first = jnp.asarray(axis_angles(blocks * per_block, config.head_dim))
        inside = jnp.asarray(axis_angles(np.arange(per_block), config.head_dim))
        parts.append(jnp.take(first, block, axis=0)[:, None] + inside[None])
    return jnp.concatenate(parts, axis=1)
