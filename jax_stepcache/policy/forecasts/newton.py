"""The polynomial through the last computed values, in the step."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.check import static_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide


class NewtonMemory(NamedTuple):
    """Memory of `Newton`.

    Attributes:
        values: ``order + 1`` arrays, the newest first.
        steps: int32[order + 1], where they were computed.
        known: int32 scalar, how many of them there are.
    """

    values: tuple[jax.Array, ...]
    steps: jax.Array
    known: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Newton:
    """Extrapolates with the polynomial through the last ``order + 1`` values.

    SeaCache's forecast. Remembers these values and where they were computed; with fewer
    of them the polynomial is of lower order.

    Attributes:
        order: of the polynomial; 0 holds the last value.
    """

    order: int = field(default=1, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks the order.

        Raises:
            ValueError: if it is negative or no whole number.
        """
        order = static_count("a Newton forecast's order", self.order)
        object.__setattr__(self, "order", order)

    def init(self, like: jax.Array) -> NewtonMemory:
        """See `Forecast.init`."""
        count = self.order + 1
        values = tuple(jnp.zeros_like(like) for _ in range(count))
        return NewtonMemory(
            values, jnp.zeros(count, jnp.int32), jnp.zeros((), jnp.int32)
        )

    def record(
        self, memory: NewtonMemory, at: Point, velocity: jax.Array
    ) -> NewtonMemory:
        """See `Forecast.record`."""
        return NewtonMemory(
            (velocity, *memory.values[:-1]),
            jnp.concatenate([at.step[None], memory.steps[:-1]]),
            jnp.minimum(memory.known + 1, self.order + 1),
        )

    def predict(self, memory: NewtonMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        count = self.order + 1
        steps = memory.steps.astype(jnp.float32)
        here = at.step.astype(jnp.float32)
        known = jnp.arange(count, dtype=jnp.int32) < memory.known
        # Lagrange's weights of the same polynomial: scalars, and one pass over values.
        others = known[None, :] & ~jnp.eye(count, dtype=bool)
        spacing = jnp.where(others, steps[:, None] - steps[None, :], 1.0)
        reach = jnp.where(others, here - steps[None, :], 1.0)
        weights = jnp.where(known, (reach / spacing).prod(axis=1), 0.0)
        terms = [
            weight.astype(value.dtype) * value
            for weight, value in zip(weights, map(wide, memory.values), strict=True)
        ]
        return functools.reduce(jnp.add, terms).astype(memory.values[0].dtype)
