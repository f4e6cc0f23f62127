"""The gate: the one `lax.cond` of the project, around one call of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax_stepcache.loop.placeholders import unchecked
from jax_stepcache.meshes.varying import cond
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.view import View


def gated(
    policy: Policy,
    state: Any,
    view: View,
    run: Callable[[], Any],
    seen: Callable[[Any], View] | None = None,
) -> tuple[Any, Decision]:
    """Runs the network, or reuses, as the policy decides.

    Args:
        policy: the cache policy.
        state: the policy's state.
        view: where the sampler stands.
        run: calls the network. It appears once in the compiled program.
        seen: from what is computed by then to the view that the policy records or
            predicts by; the same unless given.

    Returns:
        The velocity, and the decision with the policy's new state in it.
    """
    # A NaN is what a signal says that has not looked yet.
    with unchecked():
        decision = policy.decide(state, view)

    def later(after: Any) -> View:
        return view if seen is None else seen(after)

    def compute(state: Any) -> tuple[Any, Any]:
        velocity = run()
        return velocity, policy.record(state, later(velocity), velocity)

    def reuse(state: Any) -> tuple[Any, Any]:
        return policy.predict(state, later(state)), state

    if decision.run is True:
        velocity, state = compute(decision.state)
    else:
        # Reuse is the false branch, index 0: the other way round, XLA on the CPU
        # copied seven buffers at each step instead of five (jax 0.10).
        velocity, state = cond(decision.run, compute, reuse, decision.state)
    return velocity, decision._replace(state=state)
