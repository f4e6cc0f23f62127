"""Reuse until the change has added up: TeaCache's gate, and SeaCache's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import Verdict, tested
from jax_stepcache.policy.gates.certain import Certain, every_step, on_host


class AccumulateState(NamedTuple):
    """State of `Accumulate`.

    Attributes:
        total: float32 scalar, the change since the span last ran.
        recorded: bool scalar, whether it has run.
    """

    total: jax.Array
    recorded: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Accumulate:
    """Reuses while the signals since the last computed step add up to less.

    Attributes:
        threshold: float32, what they must stay below, strictly.
        coefficients: float32[terms] of a polynomial that the signal goes through,
            highest power first; its absolute value is added. None adds the signal.
        signed: whether the polynomial is added as it is: where it is negative, the sum
            falls.
    """

    needs_signal: ClassVar[bool] = True

    threshold: ArrayLike
    coefficients: ArrayLike | None = None
    signed: bool = field(default=False, metadata={"static": True})

    def init(self, num_steps: int) -> AccumulateState:
        """See `Gate.init`."""
        del num_steps
        return AccumulateState(jnp.zeros((), jnp.float32), jnp.zeros((), bool))

    def decide(
        self, state: AccumulateState, step: jax.Array, signal: jax.Array
    ) -> Verdict:
        """See `Gate.decide`; NaN runs."""
        del step
        if self.coefficients is not None:
            coefficients = jnp.asarray(self.coefficients, jnp.float32)
            signal = jnp.polyval(coefficients, signal)
            signal = signal if self.signed else jnp.abs(signal)
        total = state.total + signal
        threshold = jnp.asarray(self.threshold, jnp.float32)
        reuse = state.recorded & (total < threshold)
        after = state._replace(total=jnp.where(reuse, total, 0.0))
        return tested(state.recorded, ~reuse, total, threshold, after)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        threshold = on_host(self.threshold)
        if threshold is None or threshold > 0:
            return []
        return every_step(num_steps, f"no change is below a threshold of {threshold:g}")

    def record(self, state: AccumulateState) -> AccumulateState:
        """See `Gate.record`."""
        return AccumulateState(
            jnp.zeros_like(state.total), jnp.ones_like(state.recorded)
        )
