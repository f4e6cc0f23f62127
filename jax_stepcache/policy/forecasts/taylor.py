"""TaylorSeer: a Taylor series in the step, of backward differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.check import static_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide


class TaylorMemory(NamedTuple):
    """Memory of `Taylor`.

    Attributes:
        differences: ``order + 1`` arrays, the value and its differences.
        known: int32 scalar, how many of them there are.
        last: int32 scalar, the step of the last computed value; -1 before there is one.
    """

    differences: tuple[jax.Array, ...]
    known: jax.Array
    last: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Taylor:
    """The Taylor series around the last computed value, in steps.

    Liu et al. 2025, "From Reusing to Forecasting: Accelerating Diffusion Models with
    TaylorSeers". Derivatives are differences of computed values over the steps between
    them, as cache-dit and diffusers take them. Remembers ``order + 1`` values.

    Attributes:
        order: of the series; 0 holds the last value.
        first_step: the first step at which differences are taken. cache-dit's is 3:
            what is computed before keeps no derivative.
    """

    order: int = field(default=1, metadata={"static": True})
    first_step: int = field(default=0, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks the order.

        Raises:
            ValueError: if it is negative or no whole number.
        """
        order = static_count("a Taylor forecast's order", self.order)
        object.__setattr__(self, "order", order)

    def init(self, like: jax.Array) -> TaylorMemory:
        """See `Forecast.init`."""
        empty = tuple(jnp.zeros_like(like) for _ in range(self.order + 1))
        return TaylorMemory(
            empty, jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
        )

    def record(
        self, memory: TaylorMemory, at: Point, velocity: jax.Array
    ) -> TaylorMemory:
        """See `Forecast.record`."""
        spacing = jnp.maximum(at.step - memory.last, 1).astype(wide(velocity).dtype)
        new = [velocity]
        for before in memory.differences[:-1]:
            difference = (wide(new[-1]) - wide(before)) / spacing
            new.append(difference.astype(velocity.dtype))
        # A difference is known where the one below it was known the time before.
        known = jnp.where(at.step >= self.first_step, memory.known + 1, 1)
        return TaylorMemory(tuple(new), jnp.minimum(known, self.order + 1), at.step)

    def predict(self, memory: TaylorMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        reach = (at.step - memory.last).astype(jnp.float32)
        weights = [reach**i / math.factorial(i) for i in range(1, self.order + 1)]
        return series(memory, weights)


def series(memory: TaylorMemory, weights: Sequence[jax.Array]) -> jax.Array:
    """The last value, and its known differences by their weights.

    Args:
        memory: what was recorded.
        weights: float32 scalars, one for each difference, the first one first.

    Returns:
        An array like the last value.
    """
    value = wide(memory.differences[0])
    for i, difference in enumerate(memory.differences[1:], start=1):
        weight = jnp.where(i < memory.known, weights[i - 1], 0.0)
        value = value + weight.astype(value.dtype) * wide(difference)
    return value.astype(memory.differences[0].dtype)
