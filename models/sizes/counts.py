"""Checks of the numbers that a configuration consists of."""

from __future__ import annotations

from typing import Any

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Names of the dtypes that activations may have."""


def require_count(name: str, value: Any) -> None:
    """Checks a size.

    Args:
        name: the field's.
        value: what it was given.

    Raises:
        ValueError: if it is no integer, or less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
