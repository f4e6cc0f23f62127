"""How much arithmetic the network's matrix products take."""

from __future__ import annotations

from typing import NamedTuple

from ...sizes.arithmetic import product
from .config import GemmaConfig, Pi0Config

CAMERAS = 3
"""Pictures that the network is shown."""


class Flops(NamedTuple):
    """Floating-point operations for one robot, a product and a sum counting two.

    Attributes:
        prefix_tokens: of pictures and prompt.
        prefix: reading these, once a chunk of actions.
        call: one call of the action expert.
    """

    prefix_tokens: int
    prefix: int
    call: int


def count_flops(config: Pi0Config) -> Flops:
    """Counts the matrix products; all else is small beside them.

    Args:
        config: the network's.

    Returns:
        The counts.
    """
    c, v, wide = config, config.vision, config.expert.width
    tokens = CAMERAS * c.image_tokens + c.max_token_len
    seen = CAMERAS * (
        product(c.image_tokens, 3 * v.patch_size**2, v.width)
        + v.depth
        * (
            4 * product(c.image_tokens, v.width, v.width)
            + 2 * product(c.image_tokens, c.image_tokens, v.width)
            + 2 * product(c.image_tokens, v.width, v.mlp_dim)
        )
        + product(c.image_tokens, v.width, c.gemma.width)
    )
    prefix = seen + c.gemma.depth * _block(c.gemma, tokens, tokens)
    own = c.suffix_tokens
    time = 1 if c.pi05 else c.action_horizon
    call = (
        2 * product(c.action_horizon, c.action_dim, wide)
        + product(time, wide * (1 if c.pi05 else 2), wide)
        + product(time, wide, wide)
        + c.expert.depth * _block(c.expert, own, tokens + own)
    )
    if c.pi05:
        call += (2 * c.expert.depth + 1) * product(1, wide, 3 * wide)
    return Flops(tokens, prefix, call)


def _block(config: GemmaConfig, tokens: int, keys: int) -> int:
    c = config
    heads, few = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    return (
        2 * product(tokens, c.width, heads)  # queries and output
        + 2 * product(tokens, c.width, few)
        + 2 * product(tokens, keys, heads)
        + 3 * product(tokens, c.width, c.mlp_dim)
    )
