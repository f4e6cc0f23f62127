"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .flops import count_flops
from .model import DreamZeroModel
from .parameters import weight_shapes
from .state_dict import state_dict_shapes


def describe(model: DreamZeroModel) -> list[tuple[str, int, str]]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        Rows of a name, a number and its unit, which is ``""`` for what is counted,
        ``"B"`` for bytes or ``"FLOP"``.
    """
    c = model.dit
    weights = jax.tree.leaves(weight_shapes(c))
    parameters = sum(math.prod(weight.shape) for weight in weights)
    itemsize = jnp.dtype(c.dtype).itemsize
    branches = 2
    held = c.window - c.num_frame_per_block
    tokens = held * c.frame_seqlen
    cache = 2 * branches * c.num_layers * tokens * c.dim * itemsize
    flops = count_flops(c, held)
    return [
        ("parameters", parameters, ""),
        ("tensors in the original's layout", len(state_dict_shapes(c)), ""),
        ("arrays here, blocks stacked", len(weights), ""),
        (f"weights in {c.dtype}", parameters * itemsize, "B"),
        (f"KV cache a session, {held} frames, both branches", cache, "B"),
        ("one call, one branch", flops.call, "FLOP"),
        ("one call, both branches", branches * flops.call, "FLOP"),
        ("once a prompt, one branch", flops.prompt, "FLOP"),
    ]
