"""Extrapolate the x0-prediction in log-SNR."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide
from jax_stepcache.policy.forecasts.line import Line


@register_dataclass
@dataclass(frozen=True)
class LinearX0:
    """The line through the last two x0-predictions, in log-SNR. Remembers two.

    The network's idea of the clean sample, ``x0 = x - sigma * v``, drifts more evenly
    than its velocity; solvers such as DPM-Solver++ and UniPC extrapolate it too. The
    velocity is then the one that leads from the current sample to the predicted x0.

    Attributes:
        damping: factor on the slope.
        max_ratio: cap on the reach over the spacing of the two x0-predictions.
    """

    damping: jax.Array | float = 1.0
    max_ratio: jax.Array | float = math.inf

    def init(self, like: jax.Array) -> Line:
        """See `Forecast.init`."""
        # What is subtracted from the sample at a low sigma must be exact: not bfloat16.
        return Line.empty(wide(like))

    def record(self, memory: Line, at: Point, velocity: jax.Array) -> Line:
        """See `Forecast.record`."""
        x = wide(at.sample)
        x0 = x - at.sigma.astype(x.dtype) * wide(velocity)
        return memory.record(x0, _log_snr(at.sigma))

    def predict(self, memory: Line, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        x0 = memory.extrapolate(_log_snr(at.sigma), self.damping, self.max_ratio)
        sigma = jnp.maximum(at.sigma, 1e-6)
        velocity = (wide(at.sample) - x0) / sigma.astype(x0.dtype)
        return velocity.astype(at.sample.dtype)


def _log_snr(sigma: jax.Array) -> jax.Array:
    # Pure noise (sigma 1) would be infinitely far away.
    sigma = jnp.clip(sigma, 1e-6, 1 - 1e-6)
    return jnp.log1p(-sigma) - jnp.log(sigma)
