"""Guidance within an interval of noise levels only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Interval = tuple[float, float]
"""The noise levels between which there is guidance, the lower one exclusive."""


def check_interval(given: Any) -> Interval | None:
    """Checks a guidance interval.

    Args:
        given: two noise levels, the lower one first; None for all of them.

    Returns:
        Two numbers, or None.

    Raises:
        ValueError: if these are no two numbers that rise.
    """
    if given is None:
        return None
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (2,) or not found[0] < found[1]:
        raise ValueError(
            f"guidance_interval is {given!r:.80}; give two noise levels, the lower one "
            "first, such as (0.2, 0.8): there is guidance where lo < sigma <= hi"
        )
    return float(found[0]), float(found[1])


def within(interval: Interval, sigma: jax.Array) -> jax.Array:
    """Whether there is guidance at noise levels, an array of booleans."""
    low, high = (np.float32(x) for x in interval)
    return (sigma > low) & (sigma <= high)


def guided_level(output: str | None, sigmas: Any) -> jax.Array:
    """The noise level that a model's signals look at, of those of all outputs."""
    if isinstance(sigmas, Mapping) and output in sigmas:
        return jax.tree.leaves(sigmas[output])[0]
    return jax.tree.leaves(sigmas)[0]


def scale_within(scale: Any, on: jax.Array) -> jax.Array:
    """The guidance scale where there is guidance, and else 1.

    Args:
        scale: float32 scalar or float32[rows].
        on: bool scalar or bool[rows].

    Returns:
        float32[rows], or float32[1] for all of them; see `mix_branches`.
    """
    return jnp.atleast_1d(jnp.where(on, jnp.asarray(scale, jnp.float32), 1.0))
