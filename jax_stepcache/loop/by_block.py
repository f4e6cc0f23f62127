"""One step's forward with a gate around each of the network's blocks."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.loop.branches import Branches, BranchesState
from jax_stepcache.loop.forward import Within, in_wider, like_sample
from jax_stepcache.loop.gated import gated
from jax_stepcache.network.stages import check_kept
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import EachBlock
from jax_stepcache.policy.view import View


class AtBlock(NamedTuple):
    """Where a step stands before a block.

    Attributes:
        view: with what enters it in ``inside.hidden``, in the wider of the dtypes that
            enter and leave it.
        leaving: the dtype of each array that leaves it.
    """

    view: View
    leaving: tuple[Any, ...]


class ByBlock(Within):
    """The gate is around each block of a span; see `EachBlock`.

    Each block has one call site, and a `cond` of its own. The policy is that of one
    block; what blocks count together goes from one to the next by its ``after``.
    """

    @property
    def noted(self) -> tuple[int, ...]:
        """See `Within.noted`."""
        return self.branches, len(self.gated)

    @property
    def gated(self) -> tuple[int, ...]:
        """Blocks that may be skipped."""
        assert isinstance(self.span, EachBlock)
        return self.span.gated(self.num_blocks)

    def init(self, policy: Policy, view: View, num_steps: int) -> tuple[Any, ...]:
        """See `Forward.init`: a state for each block that may be skipped."""

        def go() -> Any:
            entered = self.enter(view)
            hidden = entered.hidden
            inside: list[Any] = []
            for block in range(self.span.first, self.end):
                if block in self.gated:
                    at = self.before(entered.view, hidden, entered.context, block)
                    inside.append(at.view.inside)
                hidden = self.through_one(hidden, entered.context, block)
            return inside

        branches = Branches(policy, self.branches)
        return tuple(
            branches.init(view._replace(inside=inside), num_steps)
            for inside in jax.eval_shape(go)
        )

    def __call__(
        self, policy: Policy, state: tuple[Any, ...], view: View
    ) -> tuple[Any, Decision]:
        """See `Forward.__call__`; ``signal`` and ``ran`` are [branches, blocks]."""
        entered = self.enter(view)
        hidden, context = entered.hidden, entered.context
        branches = Branches(policy, self.branches)
        decisions: list[Decision] = []
        for block in range(self.span.first, self.end):
            if block not in self.gated:
                hidden = self.through_one(hidden, context, block)
                continue
            at = self.before(entered.view, hidden, context, block)
            own = replace(branches, leaving=at.leaving)
            # Before the first one there was the last one of the step before.
            before = decisions[-1].state if decisions else state[-1]
            now = after(policy, state[len(decisions)], before)

            run = functools.partial(self.through_one, hidden, context, block)
            value, decision = gated(own, now, at.view, run)
            hidden = own.settle(decision.state, at.view, value)
            decisions.append(decision)
        if self.span.last:
            hidden = self.blocks(hidden, context, self.end, self.num_blocks)
        velocity = like_sample(view.sample, self.head(hidden, context, view.step))
        ran = [one.state.ran for one in decisions]
        states = tuple(one.state for one in decisions)
        return velocity, together(decisions, ran, states)

    def before(self, view: View, hidden: Any, context: Any, block: int) -> AtBlock:
        """What a policy sees before a block; the block is traced for what leaves it.

        Args:
            view: where the sampler stands, with what there is to see inside.
            hidden: what enters the block, in the network's own dtypes.
            context: what blocks read besides.
            block: which.

        Returns:
            Where it stands.
        """
        assert view.inside is not None
        leaving = jax.eval_shape(lambda: self.through_one(hidden, context, block))
        inside = view.inside._replace(hidden=jax.tree.map(in_wider, hidden, leaving))
        dtypes = tuple(x.dtype for x in jax.tree.leaves(leaving))
        return AtBlock(view._replace(inside=inside), dtypes)

    def through_one(self, hidden: Any, context: Any, block: int) -> Any:
        """Goes through a block, with all rows or some."""
        value = self.blocks(hidden, context, block, block + 1)
        check_kept(value, hidden, block, block + 1)
        return value


def after(policy: Policy, state: BranchesState, before: BranchesState) -> BranchesState:
    """A block's state behind the block before it, where the policy shares something."""
    share = getattr(policy, "after", None)
    if share is None:
        return state
    return state._replace(each=jax.vmap(share)(state.each, before.each))


def together(decisions: list[Decision], ran: list[jax.Array], state: Any) -> Decision:
    """The decisions about a step's blocks as one.

    Args:
        decisions: one for each block.
        ran: bool[branches] of each.
        state: the state behind all.

    Returns:
        The decision, with [branches, blocks] arrays.
    """

    def each(numbers: list[Any]) -> jax.Array:
        rows = [jnp.atleast_1d(jnp.asarray(x, jnp.float32)) for x in numbers]
        return jnp.stack(rows, axis=-1)

    every = jnp.stack(ran, axis=-1)
    return Decision(
        every.any(),
        each([one.signal for one in decisions]),
        state,
        each([one.threshold for one in decisions]),
        every,
    )
