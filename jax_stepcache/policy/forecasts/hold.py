"""Reuse the last computed velocity, as vLLM-Omni's StepCache does."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point


@register_dataclass
@dataclass(frozen=True)
class Hold:
    """The last computed velocity, unchanged. Remembers one."""

    def init(self, like: jax.Array) -> jax.Array:
        """See `Forecast.init`."""
        return jnp.zeros_like(like)

    def record(self, memory: jax.Array, at: Point, velocity: jax.Array) -> jax.Array:
        """See `Forecast.record`."""
        del memory, at
        return velocity

    def predict(self, memory: jax.Array, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        del at
        return memory
