"""Gates of requests with different step counts, made alike in shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


def padded(part: Any, num_steps: int, length: int) -> Any:
    """Gives every row over steps in a policy the same length.

    A part that has such rows has a method ``padded`` with these arguments, which makes
    them that long without changing what it does at its own steps.

    Args:
        part: a policy, or a part of one.
        num_steps: the step count it is for.
        length: of the rows, at least that.

    Returns:
        A policy, or a part, that does the same.

    Raises:
        ValueError: if a part does not fit the step count.
    """
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    own = getattr(part, "padded", None)
    if own is not None:
        part = own(num_steps, length)
    inner = {
        field.name: padded(getattr(part, field.name), num_steps, length)
        for field in dataclasses.fields(part)
        if dataclasses.is_dataclass(getattr(part, field.name))
    }
    return dataclasses.replace(part, **inner) if inner else part


def resized(row: jax.Array, length: int, fill: Any) -> jax.Array:
    """A row over steps, cut or filled up to a length."""
    row = row[:length]
    return jnp.pad(row, (0, length - row.shape[0]), constant_values=fill)
