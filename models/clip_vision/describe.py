"""What an image encoder costs, in numbers that need no weights."""

from __future__ import annotations

import math

import jax.numpy as jnp

from ..sizes.arithmetic import product
from ..sizes.rows import Row, count_parameters
from .checkpoint.name_map import state_dict_shapes
from .model import CLIPVisionModel
from .network.config import CLIPVisionConfig
from .network.parameters import weight_shapes


def describe(model: CLIPVisionModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    tensors = state_dict_shapes(c)
    used = count_parameters(weight_shapes(c))
    return [
        ("parameters", sum(map(math.prod, tensors.values())), ""),
        ("tensors in the original's layout", len(tensors), ""),
        ("parameters that features need", used, ""),
        (f"weights in {c.dtype}, of these", used * jnp.dtype(c.dtype).itemsize, "B"),
        ("features of a picture", c.tokens, ""),
        ("a picture", count_flops(c), "FLOP"),
    ]


def count_flops(config: CLIPVisionConfig) -> int:
    """Floating-point operations of one picture, of its products alone; no resize.

    Args:
        config: the encoder's.

    Returns:
        The count.
    """
    c, tokens = config, config.tokens
    patches = product(tokens - 1, 3 * c.patch_size**2, c.dim)
    maps = 4 * product(tokens, c.dim, c.dim) + 2 * product(tokens, c.dim, c.mlp_width)
    return patches + c.depth * (maps + 2 * product(tokens, c.dim, tokens))
