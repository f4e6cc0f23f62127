"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

import jax.numpy as jnp

from ..sizes.rows import Row, call_rows, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import DreamZeroModel
from .network.flops import count_flops
from .network.parameters import weight_shapes


def describe(model: DreamZeroModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.dit
    branches = 2
    held = c.window - c.num_frame_per_block
    numbers = 2 * branches * c.num_layers * held * c.frame_seqlen * c.dim
    cache = numbers * jnp.dtype(c.dtype).itemsize
    flops = count_flops(c, held)
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        (f"KV cache a session, {held} frames, both branches", cache, "B"),
        *call_rows(flops.call),
        ("once a prompt, one branch", flops.prompt, "FLOP"),
    ]
