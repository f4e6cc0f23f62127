"""Extrapolate the velocity in sigma."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point
from jax_stepcache.policy.forecasts.line import Line


@register_dataclass
@dataclass(frozen=True)
class Linear:
    """The line through the last two computed velocities, in sigma. Remembers two.

    Attributes:
        damping: factor on the slope. The original DreamZero defines this forecast with
            0.25 and never calls it.
        max_ratio: cap on the reach over the spacing of the two velocities.
    """

    damping: jax.Array | float = 1.0
    max_ratio: jax.Array | float = math.inf

    def init(self, like: jax.Array) -> Line:
        """See `Forecast.init`."""
        return Line.empty(like)

    def record(self, memory: Line, at: Point, velocity: jax.Array) -> Line:
        """See `Forecast.record`."""
        return memory.record(velocity, at.sigma)

    def predict(self, memory: Line, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        return memory.extrapolate(at.sigma, self.damping, self.max_ratio)
