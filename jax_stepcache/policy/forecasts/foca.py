"""FoCa: predict step after step, and correct by the last computed slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide

# Beyond so many skipped steps the slopes count less and less.
_HORIZON = 3.0
# Skipped steps in a row whose weights are told apart; by then they are as good as 0.
_MOST = 128


def _weights() -> np.ndarray:
    """Of both slopes, k steps behind the last computed value: float32[_MOST, 2].

    Each prediction leans on the two before it, ``P_k = F + h_k (D + P_k-1 - P_k-2)``
    with ``P_0 = F``, the last computed value. So each is ``F`` with a share of ``D``,
    its slope, and one of ``F - P_-1``, that to the value of the step before it.
    """
    shares = [np.array([0.0, -1.0]), np.zeros(2)]
    for k in range(1, _MOST):
        horizon = k / 2 if k <= _HORIZON else _HORIZON**2 / (2 * k)
        local = shares[-1] - shares[-2]
        shares.append(horizon * (np.array([1.0, 0.0]) + local))
    return np.array(shares[1:], np.float32)


_SHARES = _weights()


class FoCaMemory(NamedTuple):
    """Memory of `FoCa`.

    Attributes:
        last: the last computed value.
        slope: its difference from the computed value before.
        local: its difference from what was used at the step before, computed or not.
        known: int32 scalar, computed values so far, at most 2.
        step: int32 scalar, where the last one was computed.
    """

    last: jax.Array
    slope: jax.Array
    local: jax.Array
    known: jax.Array
    step: jax.Array


@register_dataclass
@dataclass(frozen=True)
class FoCa:
    """Steps on from the last two values, by the mean of their slope and the computed.

    Zheng et al. 2025, "Forecast then Calibrate: Feature Caching as ODE for Efficient
    Diffusion Transformers", as cache-dit 1.5.3 has it: Heun's rule from the last
    computed value, with the slope there and that between the last two values used. Up
    to three steps count; of more the correction fades. Remembers three arrays.
    """

    def init(self, like: jax.Array) -> FoCaMemory:
        """See `Forecast.init`."""
        last, slope, local = (jnp.zeros_like(like) for _ in range(3))
        known, step = (jnp.zeros((), jnp.int32) for _ in range(2))
        return FoCaMemory(last, slope, local, known, step)

    def record(self, memory: FoCaMemory, at: Point, velocity: jax.Array) -> FoCaMemory:
        """See `Forecast.record`."""
        before = self.predict(memory, at._replace(step=at.step - 1))
        return FoCaMemory(
            velocity,
            velocity - memory.last,
            velocity - before,
            jnp.minimum(memory.known + 1, 2),
            at.step,
        )

    def predict(self, memory: FoCaMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`."""
        shares = jnp.asarray(_SHARES)[jnp.clip(at.step - memory.step, 0, _MOST - 1)]
        shares = jnp.where(memory.known > 1, shares, 0.0)
        last = wide(memory.last)
        slope, local = shares.astype(last.dtype)
        moved = last + slope * wide(memory.slope) + local * wide(memory.local)
        return moved.astype(memory.last.dtype)
