"""Hold what the velocity is apart from the sample: EasyCache's reuse."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide


@register_dataclass
@dataclass(frozen=True)
class Offset:
    """The sample, and what the last computed velocity had more than its own sample.

    Zhou et al. 2025, "Less is Enough: Training-Free Video Diffusion Acceleration via
    Runtime-Adaptive Caching". A flow's velocity is noise less data, so along a straight
    path its difference from the sample moves less than it does itself. Remembers one
    difference.
    """

    def init(self, like: jax.Array) -> jax.Array:
        """See `Forecast.init`."""
        # It is added to another sample later: not rounded in between.
        return wide(jnp.zeros_like(like))

    def record(self, memory: jax.Array, at: Point, velocity: jax.Array) -> jax.Array:
        """See `Forecast.record`."""
        del memory
        return wide(velocity) - wide(at.sample)

    def predict(self, memory: jax.Array, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        return (wide(at.sample) + memory).astype(at.sample.dtype)
