"""Gates of requests with different step counts, made alike in shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


def padded(part: Any, num_steps: int) -> Any:
    """Gives every row over steps in a policy the same length.

    A part that has such rows has a method ``padded(num_steps)``, which makes them that
    long without changing what it does at steps before its own end.

    Args:
        part: a policy, or a part of one.
        num_steps: the length, at least the step count it is for.

    Returns:
        A policy, or a part, that does the same.
    """
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    if hasattr(part, "padded"):
        part = part.padded(num_steps)
    inner = {
        field.name: padded(getattr(part, field.name), num_steps)
        for field in dataclasses.fields(part)
        if dataclasses.is_dataclass(getattr(part, field.name))
    }
    return dataclasses.replace(part, **inner) if inner else part


def resized(row: jax.Array, num_steps: int, fill: Any) -> jax.Array:
    """A row over steps, cut or filled up to a length."""
    row = row[:num_steps]
    return jnp.pad(row, (0, num_steps - row.shape[0]), constant_values=fill)
