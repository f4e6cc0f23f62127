"""One policy above a noise level, another below: for models of two experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.check import check_numbers
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import chosen
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View

# What signals look at of which a network may lack something.
_OFFERED = ("modulated", "times")


class SwitchingState(NamedTuple):
    """State of `Switching`.

    Attributes:
        now: the state of the policy that decides; of policies of other parts those of
            both.
        start: int32 scalar, the first step of the second one; -1 before.
        num_steps: int32 scalar.
    """

    now: Any
    start: jax.Array
    num_steps: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Switching:
    """A policy that gives way to another, which starts clean, below a noise level.

    What one expert computed says nothing of the other, so nothing is kept. The steps of
    the second count from its first; its last is the last of all. Where the two have
    the same parts with other numbers, one state, of one residual, serves both; where
    they have other parts, each has its own.

    Attributes:
        above: the policy at high noise.
        below: the policy at low noise.
        sigma: float32, the noise level from which on, upwards, the first decides.
    """

    above: Policy
    below: Policy
    sigma: ArrayLike

    @property
    def span(self) -> Span | None:
        """The policies' span."""
        return getattr(self.above, "span", None)

    @property
    def looks_at(self) -> str:
        """What the policies' signals need to see; of two things, what fewer offer."""
        looks = [getattr(one, "looks_at", "") for one in (self.above, self.below)]
        return max(looks, key=lambda what: (what in _OFFERED, what != "nothing"))

    @property
    def alike(self) -> bool:
        """Whether the two have the same parts."""
        return _parts(self.above) == _parts(self.below)

    def init(self, view: View, num_steps: int) -> SwitchingState:
        """See `Policy.init`."""
        now = self.above.init(view, num_steps)
        return SwitchingState(
            now if self.alike else (now, self.below.init(view, num_steps)),
            jnp.full((), -1, jnp.int32),
            jnp.asarray(num_steps, jnp.int32),
        )

    def decide(self, state: SwitchingState, view: View) -> Decision:
        """See `Policy.decide`."""
        below = _sigma(view) < jnp.asarray(self.sigma, jnp.float32)
        starts = below & (state.start < 0)
        start = jnp.where(starts, view.step, state.start)
        # Made of nothing, so it takes no memory beside the running one.
        left: Any = state.num_steps - jnp.maximum(start, 0)
        fresh = self.below.init(view, left)
        if self.alike:
            now = chosen(starts, fresh, state.now)
            state = state._replace(now=now, start=start)
            decision = self._policy(state).decide(now, self._local(state, view))
            return decision._replace(state=state._replace(now=decision.state))
        above, other = state.now[0], chosen(starts, fresh, state.now[1])
        state = state._replace(now=(above, other), start=start)
        first = _as_arrays(self.above.decide(above, view))
        second = _as_arrays(self.below.decide(other, self._local(state, view)))
        now = self._each(state, first.state, second.state)
        said = chosen(start < 0, first._replace(state=()), second._replace(state=()))
        return said._replace(state=state._replace(now=now))

    def after(self, state: SwitchingState, before: SwitchingState) -> SwitchingState:
        """See `DBPrune.after`."""
        after = getattr(self._policy(state), "after", None)
        return (
            state if after is None else state._replace(now=after(state.now, before.now))
        )

    def record(self, state: SwitchingState, view: View, value: Any) -> SwitchingState:
        """See `Policy.record`."""
        local = self._local(state, view)
        if self.alike:
            now = self._policy(state).record(state.now, local, value)
            return state._replace(now=now)
        first = self.above.record(state.now[0], view, value)
        second = self.below.record(state.now[1], local, value)
        return state._replace(now=self._each(state, first, second))

    def predict(self, state: SwitchingState, view: View) -> Any:
        """See `Policy.predict`."""
        local = self._local(state, view)
        if self.alike:
            return self._policy(state).predict(state.now, local)
        first = self.above.predict(state.now[0], view)
        second = self.below.predict(state.now[1], local)
        return chosen(state.start < 0, first, second)

    def _each(self, state: SwitchingState, first: Any, second: Any) -> tuple[Any, Any]:
        """The states of both, of which the one that decides has moved."""
        high = state.start < 0
        return chosen(high, first, state.now[0]), chosen(high, state.now[1], second)

    def _policy(self, state: SwitchingState) -> Policy:
        return chosen(state.start < 0, self.above, self.below)

    def _local(self, state: SwitchingState, view: View) -> View:
        step = jnp.where(state.start < 0, view.step, view.step - state.start)
        return view._replace(step=step)


def switching(above: Policy, below: Policy, sigma: float | jax.Array) -> Switching:
    """Makes a `Switching`.

    Args:
        above: the policy at high noise.
        below: the policy at low noise, of the same span. One of the same parts with
            other numbers shares the first one's memory; another has its own beside it.
        sigma: the noise level from which on, upwards, the first decides, in [0, 1].

    Returns:
        The policy.

    Raises:
        ValueError: if the two have other spans, or for a level that is none.
    """
    check_numbers("sigma", sigma, least=0.0, most=1.0)
    spans = [getattr(policy, "span", None) for policy in (above, below)]
    if spans[0] != spans[1]:
        raise ValueError(
            "the caches of both experts must skip the same blocks: the span is "
            f"{spans[0]} above and {spans[1]} below (Fn_compute_blocks, "
            "Bn_compute_blocks). What they look at and forecast is free"
        )
    return Switching(above, below, leaf(sigma, np.float32))


def _parts(policy: Policy) -> Any:
    return jax.tree.structure(policy), [np.shape(x) for x in jax.tree.leaves(policy)]


def _as_arrays(decision: Decision) -> Decision:
    return decision._replace(
        run=jnp.asarray(decision.run),
        signal=jnp.asarray(decision.signal, jnp.float32),
        threshold=jnp.asarray(decision.threshold, jnp.float32),
    )


def _sigma(view: View) -> jax.Array:
    if view.inside is not None:
        return view.inside.sigma
    return jax.tree.leaves(view.sigma)[0]
