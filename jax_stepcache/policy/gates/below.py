"""Reuse while the change is small: DBCache's gate, and FirstBlockCache's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import Verdict, tested
from jax_stepcache.policy.gates.certain import Certain, every_step, on_host


class BelowState(NamedTuple):
    """State of `Below`.

    Attributes:
        total: float32 scalar, all signals that were compared so far.
        recorded: bool scalar, whether the span has run.
    """

    total: jax.Array
    recorded: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Below:
    """Reuses while the signal is below a threshold.

    Attributes:
        threshold: float32; infinite reuses without comparing.
        max_total: float32, a cap on the sum of all signals that were compared: from
            there on the span runs.
        inclusive: whether a signal equal to the threshold reuses.
    """

    needs_signal: ClassVar[bool] = True

    threshold: ArrayLike
    max_total: ArrayLike = math.inf
    inclusive: bool = field(default=False, metadata={"static": True})

    def init(self, num_steps: int) -> BelowState:
        """See `Gate.init`."""
        del num_steps
        return BelowState(jnp.zeros((), jnp.float32), jnp.zeros((), bool))

    def decide(self, state: BelowState, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`; NaN runs, unless nothing is compared."""
        del step
        threshold = jnp.asarray(self.threshold, jnp.float32)
        cap = jnp.asarray(self.max_total, jnp.float32)
        # A signal that was not finite must not close a gate that has no cap.
        open_ = state.recorded & (jnp.isposinf(cap) | ~(state.total >= cap))
        always = jnp.isposinf(threshold)
        small = signal <= threshold if self.inclusive else signal < threshold
        comparing = open_ & ~always
        total = jnp.where(comparing, state.total + signal, state.total)
        return tested(
            comparing,
            ~(open_ & (always | small)),
            signal,
            threshold,
            state._replace(total=total),
        )

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        threshold = on_host(self.threshold)
        if threshold is None or threshold > 0:
            return []
        why = f"no change is below a threshold of {threshold:g}"
        if self.inclusive and threshold == 0:
            why = "with a threshold of 0 only what does not change at all is reused"
        return every_step(num_steps, why)

    def record(self, state: BelowState) -> BelowState:
        """See `Gate.record`."""
        return state._replace(recorded=jnp.ones_like(state.recorded))
