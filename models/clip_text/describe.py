"""What a text encoder costs, in numbers that need no weights."""

from __future__ import annotations

from ..sizes.arithmetic import product
from ..sizes.rows import Row, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import CLIPTextModel
from .network.config import CLIPTextConfig
from .network.parameters import weight_shapes


def describe(model: CLIPTextModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        (f"a prompt of {c.length} tokens", count_flops(c), "FLOP"),
    ]


def count_flops(config: CLIPTextConfig) -> int:
    """Floating-point operations of one prompt, of its products alone."""
    c, tokens = config, config.length
    maps = 4 * product(tokens, c.dim, c.dim) + 2 * product(tokens, c.dim, c.mlp_width)
    return c.num_layers * (maps + 2 * product(tokens, c.dim, tokens))
