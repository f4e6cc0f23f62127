"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

from ..sizes.rows import Row, call_rows, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import DiTModel
from .network.flops import count_flops
from .network.parameters import weight_shapes


def describe(model: DiTModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    flops = count_flops(c)
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        ("tokens a sample", c.tokens, ""),
        *call_rows(flops.call),
        (f"one of {c.depth} blocks, one branch", flops.block, "FLOP"),
    ]
