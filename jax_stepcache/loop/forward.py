"""One step's forward: the network with a gate around it, or within."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.check import check_shapes_of
from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.gated import gated
from jax_stepcache.loop.one_by_one import one_by_one
from jax_stepcache.loop.placeholders import unchecked
from jax_stepcache.network.rows import RowAxes, leading_axes
from jax_stepcache.network.stages import check_hidden, check_kept
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import Inside, View

# Bytes of tokens that are rather made twice than kept; far above what a picture has.
LARGE = 1 << 26


class Forward(Protocol):
    """Gives the velocity of a step, computed or not."""

    def init(self, policy: Policy, view: View, num_steps: int) -> Any:
        """Makes the policy's empty state."""
        ...

    def __call__(self, policy: Policy, state: Any, view: View) -> tuple[Any, Decision]:
        """The velocity at a step, and the decision with the new state in it."""
        ...


@dataclass(frozen=True)
class Whole:
    """The gate is around the whole forward.

    Attributes:
        network: ``(sample, step) -> velocity``, guidance included.
        guided: ``step -> bool``, whether the unconditional branch is asked where the
            network is; None where that is not decided step by step.
    """

    network: Callable[[Any, jax.Array], Any]
    guided: Callable[[jax.Array], jax.Array] | None = None

    @property
    def noted(self) -> tuple[int, ...]:
        """See `Within.noted`."""
        return () if self.guided is None else (2,)

    def init(self, policy: Policy, view: View, num_steps: int) -> Any:
        """See `Forward.init`."""
        return policy.init(view, num_steps)

    def __call__(self, policy: Policy, state: Any, view: View) -> tuple[Any, Decision]:
        """See `Forward.__call__`."""

        def run() -> Any:
            return like_sample(view.sample, self.network(view.sample, view.step))

        velocity, decision = gated(policy, state, view, run)
        if self.guided is None:
            return velocity, decision
        return velocity, told_apart(decision, self.guided(view.step))


def told_apart(decision: Decision, guided: jax.Array) -> Decision:
    """A decision about all of a step, as both guidance branches took part in it.

    Args:
        decision: the decision.
        guided: bool scalar, whether the unconditional branch is asked, too.

    Returns:
        The decision, with that of each branch.
    """
    run = jnp.asarray(decision.run)
    return decision._replace(
        ran=jnp.stack([run, run & guided]),
        signal=jnp.broadcast_to(decision.signal, (2,)),
        threshold=jnp.broadcast_to(jnp.asarray(decision.threshold, jnp.float32), (2,)),
    )


class Entered(NamedTuple):
    """Where a step stands before the span.

    Attributes:
        view: with what there is to see inside. Tokens are in the wider of the dtypes
            that enter and leave the span: there, what it adds is told exactly.
        hidden: what goes into the span, in the network's own dtypes.
        context: what the stages read besides.
        leaving: the dtype of each array that leaves the span.
    """

    view: View
    hidden: Any
    context: Any
    leaving: tuple[Any, ...]


@dataclass(frozen=True)
class Within:
    """The gate is within the network, around a span of its blocks.

    Each block has one call site: those before the span, those in it and those behind.

    Attributes:
        embed: ``(sample, step) -> (hidden, context)``, with the rows of all branches.
        blocks: ``(hidden, context, start, stop) -> hidden``.
        head: ``(hidden, context, step) -> velocity``, guidance included.
        modulated: ``(sample, step, hidden, context) -> array``, or None.
        num_blocks: how many blocks there are.
        span: those that may be skipped.
        branches: guidance branches, 1 or 2.
        sigma: picks, of the sigmas of all outputs, that which forecasts go by.
        axes: where guidance branches are asked one by one, those that want it: the rows
            of the condition's arrays, the second part of the context. Else None.
        guided: ``step -> bool``, whether there is guidance; None for always.
        times: ``(hidden, context) -> arrays by name``, or None.
        shown: ``(sample, step) -> array``, or None.
        embed_through: ``(sample, step, stop) -> hidden``, ``embed`` and the blocks
            before ``stop`` in one.
    """

    embed: Callable[[Any, jax.Array], tuple[Any, Any]]
    blocks: Callable[[Any, Any, int, int], Any]
    head: Callable[[Any, Any, jax.Array], Any]
    modulated: Callable[[Any, jax.Array, Any, Any], jax.Array] | None
    num_blocks: int
    span: Span
    branches: int
    sigma: Callable[[Any], jax.Array]
    axes: RowAxes | None = None
    guided: Callable[[jax.Array], jax.Array] | None = None
    times: Callable[[Any, Any], Any] | None = None
    shown: Callable[[Any, Any], Any] | None = None
    embed_through: Callable[[Any, Any, int], Any] | None = None

    @property
    def noted(self) -> tuple[int, ...]:
        """The shape of what is noted of a step: of what decides apart, if anything."""
        return () if self.branches == 1 else (self.branches,)

    def init(self, policy: Policy, view: View, num_steps: int) -> Any:
        """See `Forward.init`; the blocks are traced for shapes."""
        inside = jax.eval_shape(lambda: self.enter(view).view.inside)
        view = view._replace(inside=inside)
        return Branches(policy, self.branches).init(view, num_steps)

    def __call__(self, policy: Policy, state: Any, view: View) -> tuple[Any, Decision]:
        """See `Forward.__call__`."""
        entered = self.enter(view)
        hidden, decision = self.passed(policy, state, entered)
        said = self.head(hidden, entered.context, view.step)
        return like_sample(view.sample, said), decision

    def passed(
        self, policy: Policy, state: Any, entered: Entered
    ) -> tuple[Any, Decision]:
        """What comes out of the last block, and the decision about the span."""
        view, context = entered.view, entered.context
        branches = Branches(policy, self.branches, leaving=entered.leaving)

        if self.axes is None:

            def seen(after: Any) -> View:
                return self._anew(entered, after)

            def run() -> Any:
                if self.embed_through is None or self.span.first:
                    return self.through(entered.hidden, context)
                if not self._are_many(entered):
                    return self.through(entered.hidden, context)
                return self.embed_through(view.sample, view.step, self.end)

            hidden, decision = gated(branches, state, view, run, seen)
            view = seen(hidden)
        else:
            with unchecked():
                decision = branches.decide(state, view)
            decision = self._wanted(policy, decision, view.step)
            shown = (entered.hidden, context)
            axes = leading_axes((entered.hidden, context[0])) + self.axes
            hidden = one_by_one(
                lambda some: self.through(*some), shown, axes, decision.state.ran
            )
            state = branches.record(decision.state, view, hidden)
            decision = decision._replace(state=state)
        # A branch that reuses has recorded nothing: it predicts now as it did before.
        hidden = branches.settle(decision.state, view, hidden)
        if self.span.last:
            hidden = self.blocks(hidden, context, self.end, self.num_blocks)
        return hidden, decision

    def _anew(self, entered: Entered, after: Any) -> View:
        """The view of tokens before the span; many are made once more.

        What the span adds is told by what went in, and what the blocks before it add
        likewise. Of a film's tokens, kept while blocks run, that is as much memory as
        what is cached; to embed them again takes next to nothing.

        Args:
            entered: where the step stands.
            after: arrays; these tokens are made when those are there, and not before.
        """
        view, inside = entered.view, entered.view.inside
        if inside is None or not self._are_many(entered):
            return view
        sample, _ = jax.lax.optimization_barrier((view.sample, after))
        start, _ = self.embed(sample, view.step)
        if self.span.first:
            first = jax.tree.map(added, entered.hidden, start)
            return view._replace(inside=inside._replace(first=first))
        wide = jax.tree.map(in_wider, start, inside.hidden)
        return view._replace(inside=inside._replace(hidden=wide))

    def _are_many(self, entered: Entered) -> bool:
        """Whether tokens are rather made twice than kept."""
        leaves = jax.tree.leaves(entered.hidden)
        return sum(x.size * x.dtype.itemsize for x in leaves) >= LARGE

    @property
    def end(self) -> int:
        """The first block behind the span."""
        return self.num_blocks - self.span.last

    def enter(self, view: View) -> Entered:
        """Goes up to the span, and traces it for what leaves it.

        Args:
            view: where the sampler stands, outside.

        Returns:
            Where it stands then.

        Raises:
            ValueError: if blocks do not keep their tokens, while tracing.
        """
        return self.entered(view, *self.embed(view.sample, view.step))

    def entered(self, view: View, start: Any, context: Any) -> Entered:
        """Goes up to the span, from what enters the first block; see `enter`."""
        # Where there are two branches, the rows of each are taken from among all.
        rows = len(jax.tree.leaves(view.sample)[0]) * self.branches
        check_hidden(start, rows if self.branches > 1 else None)
        hidden = start
        if self.span.first:
            hidden = self.blocks(start, context, 0, self.span.first)
            check_kept(hidden, start, 0, self.span.first)
        leaving = jax.eval_shape(lambda: self.through(hidden, context))
        # What no signal looks at is not compiled.
        inside = Inside(
            hidden=jax.tree.map(in_wider, hidden, leaving),
            first=jax.tree.map(added, hidden, start),
            modulated=None
            if self.modulated is None
            else self.modulated(view.sample, view.step, start, context),
            sigma=self.sigma(view.sigma),
            branches=jnp.asarray(self.branches, jnp.int32),
            times=None if self.times is None else self.times(start, context),
            shown=None if self.shown is None else self.shown(view.sample, view.step),
        )
        dtypes = tuple(x.dtype for x in jax.tree.leaves(leaving))
        return Entered(view._replace(inside=inside), hidden, context, dtypes)

    def _wanted(self, policy: Policy, decision: Decision, step: jax.Array) -> Decision:
        """The decision, with an unconditional branch that nobody reads left out."""
        if self.guided is None or not hasattr(policy, "complete"):
            return decision
        ran = decision.state.ran & jnp.stack([jnp.asarray(True), self.guided(step)])
        state = decision.state._replace(ran=ran)
        return decision._replace(run=ran.any(), state=state, ran=ran)

    def through(self, hidden: Any, context: Any) -> Any:
        """Goes through the span, with all rows or some."""
        value = self.blocks(hidden, context, self.span.first, self.end)
        check_kept(value, hidden, self.span.first, self.end)
        return value


def in_wider(x: jax.Array, other: Any) -> jax.Array:
    """An array in the dtype that holds it and another."""
    # Asked for: blocks may cast by themselves where promotion is told to be strict.
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, other.dtype))


def added(after: jax.Array, before: jax.Array) -> jax.Array:
    """What blocks have added to tokens."""
    return in_wider(after, before) - in_wider(before, after)


def like_sample(sample: Any, velocity: Any) -> Any:
    """Checks the network's answer while tracing, and casts it to the sample's dtypes.

    Raises:
        ValueError: if structure or shapes are not the sample's, or it is complex.
    """
    check_shapes_of(sample, velocity, "the model's velocity")
    for v in jax.tree.leaves(velocity):
        if jnp.iscomplexobj(v):
            raise ValueError(
                f"the model's velocity has dtype {v.dtype}, and the sample is real: "
                "what is imaginary would be lost"
            )
    return jax.tree.map(lambda x, v: v.astype(x.dtype), sample, velocity)
