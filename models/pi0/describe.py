"""What a pi0 costs, in numbers that need no weights."""

from __future__ import annotations

from ..sizes.rows import Row, count_parameters, weight_rows
from .checkpoint.name_map import plan
from .model import Pi0Model
from .network.flops import count_flops
from .network.parameters import weight_shapes


def describe(model: Pi0Model) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c, shapes = model.config, weight_shapes(model.config)
    flops = count_flops(c)
    expert = count_parameters(shapes["expert"])
    return [
        *weight_rows(shapes, len({one.sources for one in plan(c).values()}), c.dtype),
        ("parameters of the action expert", expert, ""),
        ("tokens of pictures and prompt", flops.prefix_tokens, ""),
        ("pictures and prompt, read once", flops.prefix, "FLOP"),
        ("one call of the action expert", flops.call, "FLOP"),
    ]
