"""Reuse below one threshold at first and another one later: SenCache's gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import Verdict, tested
from jax_stepcache.policy.gates.certain import Certain, on_host


@register_dataclass
@dataclass(frozen=True)
class EarlyLate:
    """Reuses while the signal is below the threshold of that part of the steps.

    Attributes:
        early: float32, the threshold of the first steps.
        late: float32, that of the others.
        steps: int32, how many the first ones are.
    """

    needs_signal: ClassVar[bool] = True

    early: ArrayLike
    late: ArrayLike
    steps: ArrayLike

    def init(self, num_steps: int) -> jax.Array:
        """See `Gate.init`; the state is whether the span has run."""
        del num_steps
        return jnp.zeros((), bool)

    def decide(self, state: jax.Array, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`; NaN runs."""
        early, late = (jnp.asarray(x, jnp.float32) for x in (self.early, self.late))
        threshold = jnp.where(step < jnp.asarray(self.steps, jnp.int32), early, late)
        return tested(state, ~(state & (signal < threshold)), signal, threshold, state)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        early, late, first = map(on_host, (self.early, self.late, self.steps))
        if early is None or late is None or first is None:
            return []
        below = np.where(np.arange(num_steps) < first, early, late)
        why = f"no change is below a threshold of {float(below.min()):g}"
        return [Certain(below <= 0, why)] if (below <= 0).any() else []

    def record(self, state: jax.Array) -> jax.Array:
        """See `Gate.record`."""
        return jnp.ones_like(state)
