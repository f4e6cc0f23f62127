"""A cache policy: a signal, a gate and a forecast around the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.forecasts import Forecast, Point, is_forecast
from jax_stepcache.gates import Gate
from jax_stepcache.prefix import spread
from jax_stepcache.signals import Signal


class View(NamedTuple):
    """What a policy sees of a step.

    Attributes:
        step: int32 scalar, the index of the step.
        sigma: the noise level of each output, float32 scalars in the sample's
            structure.
        sample: the current sample.
    """

    step: jax.Array
    sigma: Any
    sample: Any


class Decision(NamedTuple):
    """A policy's answer for one step.

    Attributes:
        run: bool scalar, whether the network runs; the Python value ``True`` where that
            is so at every step, and then no branch is compiled.
        signal: float32 scalar, what was compared with a threshold; NaN where nothing
            was.
        state: the policy's new state.
    """

    run: jax.Array | bool
    signal: jax.Array
    state: Any


class Policy(Protocol):
    """Decides at each step whether the network runs, and stands in where it does not.

    A policy is a pytree: its numbers are leaves, its structure is static. Changing a
    number never compiles again, and a sweep over numbers can be mapped.
    """

    def init(self, sample: Any, num_steps: int) -> Any:
        """Makes the empty state for a sample of these shapes and so many steps."""
        ...

    def decide(self, state: Any, view: View) -> Decision:
        """Decides about a step."""
        ...

    def record(self, state: Any, view: View, velocity: Any) -> Any:
        """The state after the network has run and given this velocity."""
        ...

    def predict(self, state: Any, view: View) -> Any:
        """The velocity of a step at which the network does not run."""
        ...


class ComposedState(NamedTuple):
    """State of `Composed`: those of its parts.

    Attributes:
        signal: the signal's state.
        gate: the gate's state.
        memory: one forecast memory for each leaf of the sample, in leaf order.
    """

    signal: Any
    gate: Any
    memory: tuple[Any, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Composed:
    """A policy made of three parts.

    Attributes:
        signal: what to look at.
        gate: when to reuse.
        forecast: what to reuse: one forecast for all outputs, or a mapping with one
            for each.
    """

    signal: Signal
    gate: Gate
    forecast: Any

    def init(self, sample: Any, num_steps: int) -> ComposedState:
        """See `Policy.init`."""
        leaves = jax.tree.leaves(sample)
        memory = [
            f.init(x) for f, x in zip(self._per_leaf(sample), leaves, strict=True)
        ]
        return ComposedState(
            self.signal.init(sample), self.gate.init(num_steps), tuple(memory)
        )

    def decide(self, state: ComposedState, view: View) -> Decision:
        """See `Policy.decide`."""
        signal = self.signal.measure(state.signal)
        verdict = self.gate.decide(state.gate, view.step, signal)
        shown = jnp.where(verdict.tested, signal, jnp.nan)
        return Decision(verdict.run, shown, state._replace(gate=verdict.state))

    def record(self, state: ComposedState, view: View, velocity: Any) -> ComposedState:
        """See `Policy.record`."""
        memory = [
            forecast.record(old, point, new)
            for forecast, old, point, new in zip(
                self._per_leaf(view.sample),
                state.memory,
                _points(view),
                jax.tree.leaves(velocity),
                strict=True,
            )
        ]
        return ComposedState(
            self.signal.record(state.signal, velocity),
            self.gate.record(state.gate),
            tuple(memory),
        )

    def predict(self, state: ComposedState, view: View) -> Any:
        """See `Policy.predict`."""
        predicted = [
            forecast.predict(memory, point)
            for forecast, memory, point in zip(
                self._per_leaf(view.sample), state.memory, _points(view), strict=True
            )
        ]
        return jax.tree.unflatten(jax.tree.structure(view.sample), predicted)

    def _per_leaf(self, sample: Any) -> tuple[Forecast, ...]:
        return spread(self.forecast, sample, is_forecast, "forecast")


def _points(view: View) -> list[Point]:
    sigmas, samples = jax.tree.leaves(view.sigma), jax.tree.leaves(view.sample)
    return [Point(sigma, sample) for sigma, sample in zip(sigmas, samples, strict=True)]
