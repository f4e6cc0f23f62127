"""What goes through the blocks, and what comes out of a forward."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...layers.attention import KeysValues
from ...layers.modulation import Spans
from ...layers.rotary import Rotation

# A GPU's tensor cores take rows by eights; others are padded, anew for each product.
_ROWS = 8


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


def filled_up(embedded: Embedded) -> Embedded:
    """Adds tokens of zeros at the end, as many as make it rows by eights.

    They have the timestep of the last token and no position; whoever runs blocks on
    them masks their keys and drops what becomes of them.
    """
    more = -embedded.x.shape[1] % _ROWS
    if not more:
        return embedded
    count, last = embedded.spans[-1]
    assert count == 1, embedded.spans
    rotation = jax.tree.map(lambda x: _with_more(x, more), embedded.rotation)
    return embedded._replace(
        x=_with_more(embedded.x, more),
        rotation=rotation,
        spans=(*embedded.spans[:-1], (count, last + more)),
    )


def _with_more(x: jax.Array, more: int) -> jax.Array:
    return jnp.pad(x, [(0, 0), (0, more)] + [(0, 0)] * (x.ndim - 2))


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
