"""Slots whose policies are within the network."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.batching.buckets import bucket_sizes, run_wanted
from jax_stepcache.batching.forward import (
    Network,
    batches_of_one,
    rows_of,
    walking,
)
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots, decided, stepped, view_of, where_slots
from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.forward import like_sample
from jax_stepcache.network.one_block import in_stages
from jax_stepcache.network.rows import RowAxes, take_rows
from jax_stepcache.network.stage_rows import StageRows, stage_rows
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import Inside, View


class Decided(NamedTuple):
    """What one slot has decided; every array has a leading axis of slots.

    Attributes:
        slot: the slot, its decision noted.
        ran: bool[branches], for which the span runs.
        predicted: what leaves the span where it does not, [branches, tokens, dim].
    """

    slot: Slots
    ran: jax.Array
    predicted: Any


@dataclass(frozen=True)
class SlotsWithin:
    """Every call takes every slot one step on.

    The blocks before and behind the span run on all rows. The span runs on those rows
    whose slot and guidance branch miss, gathered into a bucket.

    Attributes:
        network: what all slots share.
        span: what may be skipped.
        axes: the rows of the condition's arrays.
    """

    network: Network
    span: Span
    axes: RowAxes

    def init(self, settings: Settings, sample: Any, condition: Any) -> Any:
        """See `SlotForward.init`."""
        within = self._within(settings, condition)
        view = view_of(settings, jnp.zeros((), jnp.int32), sample)
        return within.init(settings.policy, view, settings.num_steps)

    def walk(self, settings: Settings, slots: Slots) -> Slots:
        """See `SlotForward.walk`: what a gate looks at is inside, so all must wait."""
        return slots._replace(waits=slots.waits | walking(settings, slots))

    def waits_at_once(self, settings: Settings, slots: Slots) -> bool:
        """See `SlotForward.waits_at_once`."""
        del settings, slots
        return True

    def call(self, settings: Settings, slots: Slots, condition: Any) -> Slots:
        """See `SlotForward.call`."""
        within = self._within(settings, condition)
        outside = jax.vmap(view_of)(settings, slots.step, slots.sample)
        rows = View(outside.step, outside.sigma, rows_of(slots.sample))
        entered = within.enter(rows)
        hidden, context = entered.hidden, entered.context
        axes = self._stage_rows(rows.sample, settings.timesteps, condition).context
        views = outside._replace(inside=self._apart(entered.view.inside, settings))
        decide = functools.partial(self._decide, entered.leaving)
        each = jax.vmap(decide)(settings, slots, views)

        wanted = self._together(each.ran & slots.waits[:, None])
        # Where the context cannot be taken apart, all rows go through or none.
        sizes = (len(wanted),) if axes is None else bucket_sizes(len(wanted))

        def run(index: jax.Array | None) -> Any:
            some, read = hidden, context
            if index is not None and axes is not None:
                some = jax.tree.map(lambda x: x[index], hidden)
                read = take_rows(context, axes, index)
            return within.through(some, read)

        value = run_wanted(run, wanted, self._together(each.predicted), sizes)
        recorded = jax.vmap(self._record)(
            settings, each.slot, views, self._slots_apart(value)
        )
        if hasattr(settings.policy, "complete"):
            settle = functools.partial(self._settle, entered.leaving)
            said = self._slots_apart(value)
            value = self._together(jax.vmap(settle)(settings, each.slot, views, said))
        if self.span.last:
            value = within.blocks(value, context, within.end, within.num_blocks)
        velocity = like_sample(rows.sample, within.head(value, context, slots.step))
        after = jax.vmap(self._step)(settings, recorded, batches_of_one(velocity))
        return where_slots(slots.waits, after, slots)

    def _within(self, settings: Settings, condition: Any) -> Any:
        return self.network.forward(settings, condition, self.span, self.axes)

    def _decide(
        self, leaving: Any, settings: Settings, slot: Slots, view: View
    ) -> Decided:
        decision, predicted = self._choose(
            leaving, settings, slot.cache, slot.step, view
        )
        return Decided(decided(slot, decision), decision.state.ran, predicted)

    def _choose(
        self, leaving: Any, settings: Settings, cache: Any, step: jax.Array, view: View
    ) -> tuple[Decision, Any]:
        """What one slot decides, and what leaves the span where it does not run."""
        branches = replace(self._branches(settings), leaving=leaving)
        decision = branches.decide(cache, view)
        # A request that is not guided has one branch; its other rows are nobody's.
        each = jnp.arange(branches.count, dtype=jnp.int32)
        ran = decision.state.ran & (each < self._own(settings))
        if self.network.interval is not None and hasattr(settings.policy, "complete"):
            ran &= (each == 0) | self.network.guided_at(settings, step)
        state = decision.state._replace(ran=ran)
        decision = decision._replace(
            run=ran.any(), state=state, ran=ran if branches.count > 1 else None
        )
        return decision, branches.predict(state, view)

    def _record(self, settings: Settings, slot: Slots, view: View, value: Any) -> Slots:
        return slot._replace(cache=self._recorded(settings, slot.cache, view, value))

    def _recorded(self, settings: Settings, cache: Any, view: View, value: Any) -> Any:
        """The cache behind the span, or a block of it."""
        return self._branches(settings).record(cache, view, value)

    def _settle(
        self, leaving: Any, settings: Settings, slot: Slots, view: View, value: Any
    ) -> Any:
        branches = replace(self._branches(settings), leaving=leaving)
        return branches.settle(slot.cache, view, value)

    def _step(self, settings: Settings, slot: Slots, velocity: Any) -> Slots:
        return stepped(slot, settings, self.network.solver, velocity, slot.cache)

    def _branches(self, settings: Settings) -> Branches:
        own = self._own(settings)
        return Branches(settings.policy, self.network.branches, own)

    def _own(self, settings: Settings) -> jax.Array:
        """Guidance branches of each request."""
        if not self.network.guided:
            return jnp.ones_like(settings.num_steps)
        return jnp.where(settings.scale == 1, 1, 2)

    def _apart(self, inside: Any, settings: Settings) -> Inside:
        """What all slots see inside, each for itself."""
        return Inside(
            hidden=self._slots_apart(inside.hidden),
            first=self._slots_apart(inside.first),
            modulated=self._slots_apart(inside.modulated),
            sigma=inside.sigma,
            branches=self._own(settings),
            times=self._slots_apart(inside.times),
            shown=self._slots_apart(inside.shown),
        )

    def _slots_apart(self, tree: Any) -> Any:
        """Rows of all branches, [branches * slots, ...] to [slots, branches, ...]."""

        def apart(x: jax.Array) -> jax.Array:
            count = self.network.branches
            return x.reshape(count, x.shape[0] // count, *x.shape[1:]).swapaxes(0, 1)

        return jax.tree.map(apart, tree)

    def _together(self, tree: Any) -> Any:
        """The inverse of `_slots_apart`."""
        return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), tree)

    def _stage_rows(self, sample: Any, timesteps: Any, condition: Any) -> StageRows:
        """Where rows are between the stages, of all branches."""
        rows = jax.tree.leaves(sample)[0].shape[0] * self.network.branches

        def many(x: jax.Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)

        t = jax.tree.map(
            lambda _: jax.ShapeDtypeStruct((rows,), jnp.float32), timesteps
        )
        found = stage_rows(
            in_stages(self.network.model, self.span),
            self.network.weights,
            jax.tree.map(many, sample),
            t,
            condition,
            self.axes,
        )
        if found.hidden is None or any(axis != 0 for axis in found.hidden):
            raise ValueError(
                "embed gave a hidden whose first axis is not that of the rows; hidden "
                "is what each row has of its own, [rows, tokens, dim]. What all rows "
                "share belongs into context"
            )
        return found
