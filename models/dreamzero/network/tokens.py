"""What goes through the blocks, and what comes out of a forward."""

from __future__ import annotations

from typing import NamedTuple

import jax

from ...layers.attention import KeysValues
from ...layers.modulation import Spans
from ...layers.rotary import Rotation


class Embedded(NamedTuple):
    """What the blocks work on.

    Attributes:
        x: (B, L, D) tokens: video, then actions, then states.
        e: (B, rows, D) time embedding of the video and, with actions, of these.
        modulation: (B, rows, 6, D) its projection.
        rotation: rotary positions of the tokens.
        grid: (frames, rows, columns) of video tokens; Python integers.
        spans: which tokens each row of ``modulation`` is for; Python integers.
    """

    x: jax.Array
    e: jax.Array
    modulation: jax.Array
    rotation: Rotation
    grid: tuple[int, int, int]
    spans: Spans

    @property
    def video_tokens(self) -> int:
        """How many of the tokens are video."""
        frames, rows, cols = self.grid
        return frames * rows * cols


class Outputs(NamedTuple):
    """All results of a forward.

    Attributes:
        video: (B, out_dim, f, H, W) float32 velocity.
        action: (B, num_action_per_block, action_dim) float32 velocity, or None
            where no action was given.
        keys_values: of the new video tokens, (layers, B, S, heads, head_dim).
    """

    video: jax.Array
    action: jax.Array | None
    keys_values: KeysValues
