"""A policy inside the network: one state for each guidance branch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.meshes.explicit import apart, together
from jax_stepcache.policy.branches import BRANCHES
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.view import View


class BranchesState(NamedTuple):
    """State of `Branches`.

    Attributes:
        each: the policy's state of every branch, on a leading axis.
        ran: bool[branches], for which the span runs at this step.
    """

    each: Any
    ran: jax.Array


@dataclass(frozen=True)
class Branches:
    """Lets each guidance branch decide for itself about its rows of the batch.

    Rows of all branches are stacked along the batch, the conditional ones first. The
    span runs on all rows where any branch wants it, in one call; a branch that would
    reuse then reuses all the same, so its decisions and values are those it has alone.
    Values here are what leaves the span, where the policy's are what the span adds.

    Attributes:
        policy: the policy of one branch.
        count: number of branches.
        forwards: how many of them count as forwards of a step, an int32 scalar; None
            for all.
        leaving: the dtype of each array that leaves the span; None where it is that of
            what the policy sees enter.
    """

    policy: Policy
    count: int
    forwards: jax.Array | None = None
    leaving: tuple[Any, ...] | None = None

    def init(self, view: View, num_steps: int) -> BranchesState:
        """See `Policy.init`; the view has the rows of all branches."""
        apart = jax.eval_shape(self._apart, view)
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), apart)
        inside = None if view.inside is None else one.inside
        state = self.policy.init(view._replace(inside=inside), num_steps)
        each = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (self.count, *jnp.shape(x))), state
        )
        return BranchesState(each, jnp.zeros(self.count, bool))

    def decide(self, state: BranchesState, view: View) -> Decision:
        """See `Policy.decide`."""

        def decide(state: Any, view: View) -> Decision:
            decision = self.policy.decide(state, view)
            threshold = jnp.asarray(decision.threshold, jnp.float32)
            run = jnp.asarray(decision.run)
            return decision._replace(run=run, threshold=threshold)

        decision = self._map(decide, state.each, view)
        after = BranchesState(decision.state, decision.run)
        if self.count == 1:
            signal, threshold = decision.signal[0], decision.threshold[0]
            return Decision(decision.run[0], signal, after, threshold)
        return decision._replace(run=decision.run.any(), state=after, ran=decision.run)

    def record(self, state: BranchesState, view: View, value: Any) -> BranchesState:
        """See `Policy.record`; a branch that reuses does not look."""
        added = self._rows_apart(
            jax.tree.map(lambda v, x: v.astype(x.dtype) - x, value, view.entering)
        )
        recorded = self._map(self.policy.record, state.each, view, added)
        return state._replace(each=self._where(state.ran, recorded, state.each))

    def predict(self, state: BranchesState, view: View) -> Any:
        """See `Policy.predict`."""
        added = self._map(self.policy.predict, state.each, view)
        left = jax.tree.map(
            lambda x, more: x + together(more).astype(x.dtype),
            view.entering,
            added,
        )
        if self.leaving is None:
            return left
        leaves, structure = jax.tree.flatten(left)
        cast = [x.astype(to) for x, to in zip(leaves, self.leaving, strict=True)]
        return jax.tree.unflatten(structure, cast)

    def settle(self, state: BranchesState, view: View, value: Any) -> Any:
        """What leaves the span, after some branch has run it or none.

        Args:
            state: the state after deciding, before anything was recorded.
            view: where the sampler stands.
            value: of the span where it ran, and else the prediction.

        Returns:
            The value for the branches that ran, and the prediction for the others.
        """
        if self.count == 1:
            return value
        complete = getattr(self.policy, "complete", None)
        predicted = self.predict(state, view)
        if complete is not None:
            predicted = self._completed(complete, state, view, value, predicted)
        reused = self._rows_apart(predicted)
        mixed = self._where(state.ran, self._rows_apart(value), reused)
        return jax.tree.map(together, mixed)

    def _completed(
        self, complete: Any, state: BranchesState, view: View, value: Any, like: Any
    ) -> Any:
        """What reusing branches make of what the others said at this very step."""
        added = self._rows_apart(
            jax.tree.map(lambda v, x: v.astype(x.dtype) - x, value, view.entering)
        )
        made = self._map(complete, state.each, view, added)
        return jax.tree.map(
            lambda x, more, to: (x + together(more).astype(x.dtype)).astype(to.dtype),
            view.entering,
            made,
            like,
        )

    def _map(self, function: Any, states: Any, view: View, *values: Any) -> Any:
        """Applies a function of one branch to all of them."""
        shared = view._replace(inside=None)

        def one(state: Any, inside: Any, *value: Any) -> Any:
            return function(state, shared._replace(inside=inside), *value)

        inside = self._apart(view).inside
        return jax.vmap(one, axis_name=BRANCHES)(states, inside, *values)

    def _apart(self, view: View) -> View:
        """The view with a leading axis for the branches inside."""
        if view.inside is None:
            raise ValueError("there is nothing inside to decide about")
        inside = view.inside
        forwards = self.count if self.forwards is None else self.forwards
        return view._replace(
            inside=inside._replace(
                hidden=self._rows_apart(inside.hidden),
                first=self._rows_apart(inside.first),
                modulated=self._rows_apart(inside.modulated),
                sigma=jnp.broadcast_to(inside.sigma, (self.count,)),
                branches=jnp.full((self.count,), forwards, jnp.int32),
                times=self._rows_apart(inside.times),
            )
        )

    def _rows_apart(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: apart(x, self.count), tree)

    def _where(self, ran: jax.Array, a: Any, b: Any) -> Any:
        return jax.tree.map(
            lambda x, y: jnp.where(ran.reshape(-1, *(1,) * (x.ndim - 1)), x, y), a, b
        )
