"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .flops import count_flops
from .model import DiTModel
from .parameters import weight_shapes
from .state_dict import state_dict_shapes


def describe(model: DiTModel) -> list[tuple[str, int, str]]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        Rows of a name, a number and its unit, which is ``""`` for what is counted,
        ``"B"`` for bytes or ``"FLOP"``.
    """
    c = model.config
    weights = jax.tree.leaves(weight_shapes(c))
    parameters = sum(math.prod(weight.shape) for weight in weights)
    flops = count_flops(c)
    return [
        ("parameters", parameters, ""),
        ("tensors in the original's layout", len(state_dict_shapes(c)), ""),
        ("arrays here, blocks stacked", len(weights), ""),
        (f"weights in {c.dtype}", parameters * jnp.dtype(c.dtype).itemsize, "B"),
        ("tokens a sample", c.tokens, ""),
        ("one call, one branch", flops.call, "FLOP"),
        ("one call, both branches", 2 * flops.call, "FLOP"),
        (f"one of {c.depth} blocks, one branch", flops.block, "FLOP"),
    ]
