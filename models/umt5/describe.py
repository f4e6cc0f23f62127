"""What a text encoder costs, in numbers that need no weights."""

from __future__ import annotations

from ..sizes.arithmetic import product
from ..sizes.rows import Row, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import UMT5Model
from .network.config import UMT5Config
from .network.parameters import weight_shapes

# Tokens that Wan and DreamZero fill prompts up to.
PROMPT = 512


def describe(model: UMT5Model) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        (f"a prompt of {PROMPT} tokens", count_flops(c, PROMPT), "FLOP"),
    ]


def count_flops(config: UMT5Config, tokens: int) -> int:
    """Floating-point operations of one prompt, of its products alone.

    Args:
        config: the encoder's.
        tokens: of the prompt, those it is filled up with included.

    Returns:
        The count.
    """
    c = config
    maps = 4 * product(tokens, c.dim, c.dim_attn) + 3 * product(
        tokens, c.dim, c.dim_ffn
    )
    attention = 2 * product(tokens, c.dim_attn, tokens)
    return c.num_layers * (maps + attention)
