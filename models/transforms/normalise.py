"""Numbers between two marks of their data, such as quantiles, as [-1, 1], and back."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.nodes import register_dataclass

from ..layers.features import beside


def normalised(
    raw: jax.Array, low: jax.Array | np.ndarray, high: jax.Array | np.ndarray
) -> jax.Array:
    """``2 * (raw - low) / (high - low) - 1``, clipped to [-1, 1].

    A component whose marks are equal keeps its value, clipped.

    Args:
        raw: floats (..., n).
        low: (n,), what -1 stands for.
        high: (n,), what 1 stands for.

    Returns:
        Like ``raw``.
    """
    low, high = beside(low, raw), beside(high, raw)
    constant = high - low == 0
    # Never a division by zero, whose gradient would be NaN even where it is not taken.
    span = jnp.where(constant, 1, high - low)
    scaled = 2 * ((raw - low) / span) - 1
    return jnp.clip(jnp.where(constant, raw, scaled), -1, 1)


def denormalised(
    scaled: jax.Array, low: jax.Array | np.ndarray, high: jax.Array | np.ndarray
) -> jax.Array:
    """``(scaled + 1) / 2 * (high - low) + low``, the inverse between the marks.

    Args:
        scaled: floats (..., n); what lies beyond [-1, 1] is not clamped.
        low: (n,), what -1 stands for.
        high: (n,), what 1 stands for.

    Returns:
        Like ``scaled``.
    """
    low, high = beside(low, scaled), beside(high, scaled)
    return (scaled + 1) / 2 * (high - low) + low


@register_dataclass
@dataclass(frozen=True, eq=False)
class Normalise:
    """`normalised` as a function of one array; a pytree of its marks.

    Attributes:
        low: (n,), what -1 stands for.
        high: (n,), what 1 stands for.
    """

    low: jax.Array | np.ndarray
    high: jax.Array | np.ndarray

    def __call__(self, raw: jax.Array) -> jax.Array:
        """See `normalised`."""
        return normalised(raw, self.low, self.high)

    @property
    def inverse(self) -> Denormalise:
        """The way back, exact between the marks."""
        return Denormalise(self.low, self.high)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Denormalise:
    """`denormalised` as a function of one array; a pytree of its marks.

    Attributes:
        low: (n,), what -1 stands for.
        high: (n,), what 1 stands for.
    """

    low: jax.Array | np.ndarray
    high: jax.Array | np.ndarray

    def __call__(self, scaled: jax.Array) -> jax.Array:
        """See `denormalised`."""
        return denormalised(scaled, self.low, self.high)

    @property
    def inverse(self) -> Normalise:
        """The way back, which clips."""
        return Normalise(self.low, self.high)
