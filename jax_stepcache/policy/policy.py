"""A cache policy: a signal, a gate and a forecast around a span of the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts import Forecast, Point, is_forecast
from jax_stepcache.policy.gates import Gate
from jax_stepcache.policy.prefix import spread
from jax_stepcache.policy.signals import Signal
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View


class Decision(NamedTuple):
    """A policy's answer for one step.

    Attributes:
        run: bool scalar, whether the span runs; the Python value ``True`` where that
            is so at every step, and then no branch is compiled.
        signal: float32 scalar, what was compared with a threshold; NaN where nothing
            was.
        state: the policy's new state.
        threshold: float32 scalar, what the signal was compared with; NaN where it was
            with nothing.
        ran: bool[branches], the guidance branches for which it runs, where they decide
            apart (``signal`` and ``threshold`` are float32[branches] then); else None.
    """

    run: jax.Array | bool
    signal: jax.Array
    state: Any
    threshold: jax.Array | float = jnp.nan
    ran: jax.Array | None = None


class Policy(Protocol):
    """Decides at each step whether the span runs, and stands in where it does not.

    A policy is a pytree: its numbers are leaves, its structure is static. Changing a
    number never compiles again, and a sweep over numbers can be mapped. A policy may
    have a ``span``; without one, or with None, the span is the whole forward, and what
    is recorded and predicted is the guided velocity. With a `Span` it is what the
    blocks of the span add to what enters them, and each guidance branch has a state of
    its own.
    """

    def init(self, view: View, num_steps: int) -> Any:
        """Makes the empty state for a view of these shapes and so many steps.

        The count may be traced; see `Gate.init`.
        """
        ...

    def decide(self, state: Any, view: View) -> Decision:
        """Decides about a step."""
        ...

    def record(self, state: Any, view: View, value: Any) -> Any:
        """The state after the span has run and given this value."""
        ...

    def predict(self, state: Any, view: View) -> Any:
        """The value of a step at which the span does not run."""
        ...


class ComposedState(NamedTuple):
    """State of `Composed`: those of its parts.

    Attributes:
        signal: the signal's state.
        gate: the gate's state.
        memory: one forecast memory for each leaf of what is reused, in leaf order.
    """

    signal: Any
    gate: Any
    memory: tuple[Any, ...]


@register_dataclass
@dataclass(frozen=True)
class Composed:
    """A policy made of three parts, and what they are around; see `compose`.

    Attributes:
        signal: what to look at.
        gate: when to reuse.
        forecast: what to reuse: one forecast for all outputs, or a mapping with one
            for each.
        span: what is skipped; None for the whole forward.
    """

    signal: Signal
    gate: Gate
    forecast: Any
    span: Span | None = field(default=None, metadata={"static": True})

    @property
    def looks_at(self) -> str:
        """What the signal needs to see; see `Signal`."""
        return getattr(self.signal, "looks_at", "nothing")

    def init(self, view: View, num_steps: int) -> ComposedState:
        """See `Policy.init`."""
        memory = [
            forecast.init(like)
            for forecast, like in zip(
                self._per_leaf(view), jax.tree.leaves(view.entering), strict=True
            )
        ]
        return ComposedState(
            self.signal.init(view), self.gate.init(num_steps), tuple(memory)
        )

    def decide(self, state: ComposedState, view: View) -> Decision:
        """See `Policy.decide`."""
        signal, seen = self.signal.measure(state.signal, view)
        verdict = self.gate.decide(state.gate, view.step, signal)
        state = state._replace(signal=seen, gate=verdict.state)
        return Decision(verdict.run, verdict.signal, state, verdict.threshold)

    def record(self, state: ComposedState, view: View, value: Any) -> ComposedState:
        """See `Policy.record`."""
        memory = [
            forecast.record(old, point, new)
            for forecast, old, point, new in zip(
                self._per_leaf(view),
                state.memory,
                _points(view),
                jax.tree.leaves(value),
                strict=True,
            )
        ]
        return ComposedState(
            self.signal.record(state.signal, view, value),
            self.gate.record(state.gate),
            tuple(memory),
        )

    def predict(self, state: ComposedState, view: View) -> Any:
        """See `Policy.predict`."""
        predicted = [
            forecast.predict(memory, point)
            for forecast, memory, point in zip(
                self._per_leaf(view), state.memory, _points(view), strict=True
            )
        ]
        return jax.tree.unflatten(jax.tree.structure(view.entering), predicted)

    def _per_leaf(self, view: View) -> tuple[Forecast, ...]:
        return spread(self.forecast, view.entering, is_forecast, "forecast")


def _points(view: View) -> list[Point]:
    if view.inside is not None:
        here = Point(view.step, view.inside.sigma, None)
        hidden = jax.tree.leaves(view.inside.hidden)
        # None where nobody looks at it, as when decisions are replayed.
        first = jax.tree.leaves(view.inside.first) or [None] * len(hidden)
        return [here._replace(first=x) for x in first]
    sigmas, samples = jax.tree.leaves(view.sigma), jax.tree.leaves(view.sample)
    return [
        Point(view.step, sigma, sample)
        for sigma, sample in zip(sigmas, samples, strict=True)
    ]
