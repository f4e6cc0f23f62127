"""What ``jax-stepcache info`` says of any model: weights, tensors, calls."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

Row = tuple[str, int, str]
"""A name, a number and its unit: ``""`` for what is counted, ``"B"`` or ``"FLOP"``."""


def count_parameters(shapes: Any) -> int:
    """Numbers that weights consist of.

    Args:
        shapes: pytree of ``jax.ShapeDtypeStruct``.

    Returns:
        How many.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def weight_rows(shapes: Any, tensors: int, dtype: str) -> list[Row]:
    """What the weights are.

    Args:
        shapes: pytree of ``jax.ShapeDtypeStruct``, blocks stacked.
        tensors: how many there are in the original's checkpoint.
        dtype: name of the dtype that they would be held in.

    Returns:
        The rows.
    """
    parameters = count_parameters(shapes)
    return [
        ("parameters", parameters, ""),
        ("tensors in the original's layout", tensors, ""),
        ("arrays here, blocks stacked", len(jax.tree.leaves(shapes)), ""),
        (f"weights in {dtype}", parameters * jnp.dtype(dtype).itemsize, "B"),
    ]


def call_rows(call: int) -> list[Row]:
    """What a call of the network takes, without guidance and with it.

    Args:
        call: floating-point operations of one branch.

    Returns:
        The rows.
    """
    return [
        ("one call, one branch", call, "FLOP"),
        ("one call, both branches", 2 * call, "FLOP"),
    ]
