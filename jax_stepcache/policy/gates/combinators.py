"""Gates around gates: each makes the span run at steps where it must.

What is inside is not asked at such a step, and its state stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import NOT_COMPARED, Gate, Verdict, chosen
from jax_stepcache.policy.gates.certain import (
    Certain,
    every_step,
    on_host,
    steps_of,
)
from jax_stepcache.policy.gates.padded import resized


class Counted(NamedTuple):
    """State of gates that count.

    Attributes:
        inner: the state of the gate inside.
        number: int32 scalar.
    """

    inner: Any
    number: jax.Array


def forced(when: jax.Array, inner: Any, verdict: Verdict) -> Verdict:
    """The inner gate's verdict, unless the span must run.

    Args:
        when: bool scalar, whether it must.
        inner: the inner gate's state, kept where it must.
        verdict: the inner gate's.

    Returns:
        The verdict, with the inner gate's state.
    """
    nothing = jnp.float32(NOT_COMPARED)
    return Verdict(
        when | verdict.run,
        jnp.where(when, nothing, verdict.signal),
        jnp.where(when, nothing, verdict.threshold),
        chosen(when, inner, verdict.state),
    )


@register_dataclass
@dataclass(frozen=True)
class WarmUp:
    """Runs the first steps.

    Attributes:
        gate: the gate for the others.
        steps: int32, how many there are.
        interval: int32, of these every so many run, the first one included.
    """

    gate: Gate
    steps: ArrayLike
    interval: ArrayLike = 1

    def init(self, num_steps: int) -> Any:
        """See `Gate.init`."""
        return self.gate.init(num_steps)

    def decide(self, state: Any, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        warming = (step < jnp.asarray(self.steps, jnp.int32)) & (
            step % jnp.asarray(self.interval, jnp.int32) == 0
        )
        return forced(warming, state, self.gate.decide(state, step, signal))

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        steps, interval = on_host(self.steps), on_host(self.interval)
        if steps is None or interval is None:
            return []
        index = np.arange(num_steps)
        why = f"the warm-up takes the first {steps} (max_warmup_steps)"
        return [Certain((index < steps) & (index % interval == 0), why)]

    def record(self, state: Any) -> Any:
        """See `Gate.record`."""
        return self.gate.record(state)


@register_dataclass
@dataclass(frozen=True)
class ForcedSteps:
    """Runs the steps of a mask; past its end none is forced.

    Attributes:
        gate: the gate for the others.
        mask: bool[steps], true where the span must run.
    """

    gate: Gate
    mask: ArrayLike

    def padded(self, num_steps: int, length: int) -> ForcedSteps:
        """See `jax_stepcache.policy.gates.padded`."""
        del num_steps
        mask = resized(jnp.asarray(self.mask, bool), length, False)
        return replace(self, mask=mask)

    def init(self, num_steps: int) -> Any:
        """See `Gate.init`."""
        return self.gate.init(num_steps)

    def decide(self, state: Any, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        mask = jnp.asarray(self.mask, bool)
        must = (step < mask.shape[0]) & mask[step]
        return forced(must, state, self.gate.decide(state, step, signal))

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        mask = on_host(self.mask)
        if mask is None or mask.ndim != 1:
            return []
        steps = steps_of(mask, num_steps)
        return [Certain(steps, f"a mask runs {steps.sum()} of them (steps_mask)")]

    def record(self, state: Any) -> Any:
        """See `Gate.record`."""
        return self.gate.record(state)


@register_dataclass
@dataclass(frozen=True)
class LastStep:
    """Runs the last step, or so many.

    Attributes:
        gate: the gate for the others.
        steps: how many.
    """

    gate: Gate
    steps: int = field(default=1, metadata={"static": True})

    def init(self, num_steps: int) -> Counted:
        """See `Gate.init`; the number is that of all steps."""
        return Counted(self.gate.init(num_steps), jnp.asarray(num_steps, jnp.int32))

    def decide(self, state: Counted, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        verdict = forced(
            step >= state.number - self.steps,
            state.inner,
            self.gate.decide(state.inner, step, signal),
        )
        return verdict._replace(state=Counted(verdict.state, state.number))

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        last = np.arange(num_steps) >= num_steps - self.steps
        which = "the last" if self.steps == 1 else f"the last {self.steps}"
        return [Certain(last, f"{which} always {'runs' if self.steps == 1 else 'run'}")]

    def record(self, state: Counted) -> Counted:
        """See `Gate.record`."""
        return Counted(self.gate.record(state.inner), state.number)


@register_dataclass
@dataclass(frozen=True)
class MaxConsecutive:
    """Runs after so many consecutive skips.

    Attributes:
        gate: the gate for the other steps.
        skips: int32; a negative number is no cap.
    """

    gate: Gate
    skips: ArrayLike

    def init(self, num_steps: int) -> Counted:
        """See `Gate.init`; the number is of the skips in a row."""
        return Counted(self.gate.init(num_steps), jnp.zeros((), jnp.int32))

    def decide(self, state: Counted, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        verdict = _capped(self.gate, self.skips, state, step, signal)
        row = jnp.where(verdict.run, 0, state.number + 1)
        return verdict._replace(state=Counted(verdict.state, row))

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        why = "none may be skipped in a row (max_continuous_cached_steps; -1 is no cap)"
        return every_step(num_steps, why) if on_host(self.skips) == 0 else []

    def record(self, state: Counted) -> Counted:
        """See `Gate.record`."""
        return Counted(self.gate.record(state.inner), jnp.zeros_like(state.number))


@register_dataclass
@dataclass(frozen=True)
class MaxSkips:
    """Runs once so many steps have been skipped in all.

    Attributes:
        gate: the gate until then.
        skips: int32; a negative number is no cap.
    """

    gate: Gate
    skips: ArrayLike

    def init(self, num_steps: int) -> Counted:
        """See `Gate.init`; the number is of all skips."""
        return Counted(self.gate.init(num_steps), jnp.zeros((), jnp.int32))

    def decide(self, state: Counted, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        verdict = _capped(self.gate, self.skips, state, step, signal)
        count = state.number + jnp.where(verdict.run, 0, 1)
        return verdict._replace(state=Counted(verdict.state, count))

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        why = "none may be skipped in all (max_cached_steps; -1 is no cap)"
        return every_step(num_steps, why) if on_host(self.skips) == 0 else []

    def record(self, state: Counted) -> Counted:
        """See `Gate.record`."""
        return Counted(self.gate.record(state.inner), state.number)


def _capped(
    gate: Gate, cap: ArrayLike, state: Counted, step: jax.Array, signal: jax.Array
) -> Verdict:
    cap = jnp.asarray(cap, jnp.int32)
    return forced(
        (cap >= 0) & (state.number >= cap),
        state.inner,
        gate.decide(state.inner, step, signal),
    )
