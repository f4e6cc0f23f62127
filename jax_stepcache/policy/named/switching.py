"""One policy above a noise level, another below: for models of two experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.check import check_numbers
from jax_stepcache.policy.gates.base import chosen
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View


class SwitchingState(NamedTuple):
    """State of `Switching`.

    Attributes:
        now: the state of the policy that decides.
        start: int32 scalar, the first step of the second one; -1 before.
        num_steps: int32 scalar.
    """

    now: Any
    start: jax.Array
    num_steps: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Switching:
    """A policy that gives way to another, which starts clean, below a noise level.

    What one expert computed says nothing of the other, so nothing is kept. The steps of
    the second count from its first; its last is the last of all. The two have the same
    parts with other numbers: one state, of one residual, serves both.

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
        """What the policies' signal needs to see."""
        return getattr(self.above, "looks_at", "")

    def init(self, view: View, num_steps: int) -> SwitchingState:
        """See `Policy.init`."""
        return SwitchingState(
            self.above.init(view, num_steps),
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
        now = chosen(starts, fresh, state.now)
        state = state._replace(now=now, start=start)
        decision = self._policy(state).decide(now, self._local(state, view))
        return decision._replace(state=state._replace(now=decision.state))

    def after(self, state: SwitchingState, before: SwitchingState) -> SwitchingState:
        """See `DBPrune.after`."""
        after = getattr(self._policy(state), "after", None)
        return (
            state if after is None else state._replace(now=after(state.now, before.now))
        )

    def record(self, state: SwitchingState, view: View, value: Any) -> SwitchingState:
        """See `Policy.record`."""
        local = self._local(state, view)
        return state._replace(now=self._policy(state).record(state.now, local, value))

    def predict(self, state: SwitchingState, view: View) -> Any:
        """See `Policy.predict`."""
        return self._policy(state).predict(state.now, self._local(state, view))

    def _policy(self, state: SwitchingState) -> Policy:
        return chosen(state.start < 0, self.above, self.below)

    def _local(self, state: SwitchingState, view: View) -> View:
        step = jnp.where(state.start < 0, view.step, view.step - state.start)
        return view._replace(step=step)


def switching(above: Policy, below: Policy, sigma: float | jax.Array) -> Switching:
    """Makes a `Switching`.

    Args:
        above: the policy at high noise.
        below: the policy at low noise, of the same parts with other numbers.
        sigma: the noise level from which on, upwards, the first decides, in [0, 1].

    Returns:
        The policy.

    Raises:
        ValueError: if the two have other parts, or for a level that is none.
    """
    check_numbers("sigma", sigma, least=0.0, most=1.0)
    shapes = [
        (jax.tree.structure(policy), [np.shape(x) for x in jax.tree.leaves(policy)])
        for policy in (above, below)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "the caches of both experts must have the same parts: other numbers are "
            "free, but not which blocks are skipped, what is forecast, or whether "
            "there is a mask"
        )
    return Switching(above, below, leaf(sigma, np.float32))


def _sigma(view: View) -> jax.Array:
    if view.inside is not None:
        return view.inside.sigma
    return jax.tree.leaves(view.sigma)[0]
