"""Start a policy afresh in the middle of a generation: cache-dit's force refresh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.check import check_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import chosen
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View


class RestartingState(NamedTuple):
    """State of `Restarting`.

    Attributes:
        now: the policy's state.
        fresh: its state before the first step.
    """

    now: Any
    fresh: Any


@register_dataclass
@dataclass(frozen=True)
class Restarting:
    """A policy that forgets everything at a step, or at every so many.

    Its steps count from there on, warm-up included. Use it where the condition changes
    on the way. The clean state is kept beside the running one.

    Attributes:
        policy: the policy.
        hint: int32, the forward before which it starts afresh, at least 1. As in
            cache-dit each guidance branch of a step is a forward, so under guidance
            step ``hint / 2``, rounded up.
        repeat: whether it does so every ``hint`` forwards, rather than once.

    A gate that counts to the last step (`LastStep`) counts from the restart, too.
    """

    policy: Policy
    hint: ArrayLike
    repeat: bool = field(default=False, metadata={"static": True})

    @property
    def span(self) -> Span | None:
        """The policy's span."""
        return getattr(self.policy, "span", None)

    @property
    def looks_at(self) -> str:
        """What the policy's signal needs to see."""
        return getattr(self.policy, "looks_at", "")

    def init(self, view: View, num_steps: int) -> RestartingState:
        """See `Policy.init`."""
        return RestartingState(
            self.policy.init(view, num_steps), self.policy.init(view, num_steps)
        )

    def decide(self, state: RestartingState, view: View) -> Decision:
        """See `Policy.decide`."""
        local = self._local(view)
        restarts = (local.step == 0) & (view.step > 0)
        now = chosen(restarts, state.fresh, state.now)
        decision = self.policy.decide(now, local)
        return decision._replace(state=state._replace(now=decision.state))

    def after(self, state: RestartingState, before: RestartingState) -> Any:
        """See `DBPrune.after`."""
        after = getattr(self.policy, "after", None)
        return (
            state if after is None else state._replace(now=after(state.now, before.now))
        )

    def record(self, state: RestartingState, view: View, value: Any) -> RestartingState:
        """See `Policy.record`."""
        now = self.policy.record(state.now, self._local(view), value)
        return state._replace(now=now)

    def predict(self, state: RestartingState, view: View) -> Any:
        """See `Policy.predict`."""
        return self.policy.predict(state.now, self._local(view))

    def _local(self, view: View) -> View:
        branches = 1 if view.inside is None else view.inside.branches
        hint = jnp.asarray(self.hint, jnp.int32)
        start = -(-hint // branches)
        step = view.step % start if self.repeat else view.step - start
        return view._replace(step=jnp.where(view.step >= start, step, view.step))


def restarting(
    policy: Policy, hint: int | jax.Array, repeat: bool = False
) -> Restarting:
    """Makes a `Restarting` of a hint that has been checked.

    Raises:
        ValueError: if the hint is no whole number of at least 1.
    """
    check_count("force_refresh_step_hint", hint, 1)
    return Restarting(policy, leaf(hint, np.int32), repeat)
