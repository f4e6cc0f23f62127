"""HiCache: TaylorSeer's differences, weighted by Hermite polynomials."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.check import static_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point
from jax_stepcache.policy.forecasts.taylor import Taylor, TaylorMemory, series


@register_dataclass
@dataclass(frozen=True)
class Hermite:
    """The series of `Taylor` with scaled Hermite polynomials for the powers.

    Feng et al. 2025, "HiCache: Training-free Acceleration of Diffusion Models via
    Hermite Polynomial-based Feature Caching". ``k`` steps behind the last value its
    i-th difference counts ``s^i H_i(s k) / i!``, where Taylor's counts ``k^i / i!``;
    ``H_i`` are the physicists' polynomials, which grow less than a power where they are
    contracted. Remembers ``order + 1`` values.

    Attributes:
        order: of the series; 0 holds the last value.
        scale_factor: float32, ``s``, which contracts both the step and the polynomial;
            above 0. Half of a Taylor slope is left at 0.5.
    """

    order: int = field(default=1, metadata={"static": True})
    scale_factor: ArrayLike = 0.5

    def __post_init__(self) -> None:
        """Checks the order.

        Raises:
            ValueError: if it is negative or no whole number.
        """
        order = static_count("a Hermite forecast's order", self.order)
        object.__setattr__(self, "order", order)

    def init(self, like: jax.Array) -> TaylorMemory:
        """See `Forecast.init`."""
        return Taylor(self.order).init(like)

    def record(
        self, memory: TaylorMemory, at: Point, velocity: jax.Array
    ) -> TaylorMemory:
        """See `Forecast.record`."""
        return Taylor(self.order).record(memory, at, velocity)

    def predict(self, memory: TaylorMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        scale = jnp.asarray(self.scale_factor, jnp.float32)
        x = scale * (at.step - memory.last).astype(jnp.float32)
        # H_n+1 = 2 x H_n - 2 n H_n-1.
        before, last, weights = jnp.zeros_like(x), jnp.ones_like(x), []
        for i in range(1, self.order + 1):
            before, last = last, 2 * x * last - 2 * (i - 1) * before
            weights.append(scale**i * last / math.factorial(i))
        return series(memory, weights)
