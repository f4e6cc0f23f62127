"""Slots whose policies decide about each block of the network."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax

from jax_stepcache.batching.buckets import bucket_sizes, run_wanted
from jax_stepcache.batching.forward import batches_of_one, rows_of
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots, decided, view_of, where_slots
from jax_stepcache.batching.within import SlotsWithin
from jax_stepcache.loop.by_block import after, together
from jax_stepcache.loop.forward import like_sample
from jax_stepcache.network.rows import take_rows
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.view import View


@dataclass(frozen=True)
class SlotsByBlock(SlotsWithin):
    """Every call takes every slot one step on, block by block.

    Each block runs on the rows that want it, gathered into a bucket; see `SlotsWithin`.
    """

    def call(self, settings: Settings, slots: Slots, condition: Any) -> Slots:
        """See `SlotForward.call`."""
        within = self._within(settings, condition)
        outside = jax.vmap(view_of)(settings, slots.step, slots.sample)
        rows = View(outside.step, outside.sigma, rows_of(slots.sample))
        entered = within.enter(rows)
        hidden, context = entered.hidden, entered.context
        axes = self._stage_rows(rows.sample, settings.timesteps, condition).context
        decisions: list[Decision] = []
        states: list[Any] = []
        for block in range(self.span.first, within.end):
            if block not in within.gated:
                hidden = within.through_one(hidden, context, block)
                continue
            at = within.before(entered.view, hidden, context, block)
            views = outside._replace(inside=self._apart(at.view.inside, settings))
            before = states[-1] if states else slots.cache[-1]
            now = jax.vmap(after)(settings.policy, slots.cache[len(states)], before)
            choose = functools.partial(self._choose, at.leaving)
            decision, predicted = jax.vmap(choose)(settings, now, slots.step, views)
            ran = decision.state.ran
            wanted = self._together(ran & slots.waits[:, None])
            # Where the context cannot be taken apart, all rows go through or none.
            sizes = (len(wanted),) if axes is None else bucket_sizes(len(wanted))

            def run(
                index: jax.Array | None, hidden: Any = hidden, block: int = block
            ) -> Any:
                some, read = hidden, context
                if index is not None and axes is not None:
                    some = jax.tree.map(lambda x: x[index], hidden)
                    read = take_rows(context, axes, index)
                return within.through_one(some, read, block)

            hidden = run_wanted(run, wanted, self._together(predicted), sizes)
            record = jax.vmap(self._recorded)
            states.append(
                record(settings, decision.state, views, self._slots_apart(hidden))
            )
            decisions.append(decision)
        if self.span.last:
            hidden = within.blocks(hidden, context, within.end, within.num_blocks)
        velocity = like_sample(rows.sample, within.head(hidden, context, slots.step))

        def noted(slot: Slots, each: list[Decision], states: tuple[Any, ...]) -> Slots:
            ran = [one.state.ran for one in each]
            return decided(slot, together(each, ran, states))

        slots_after = jax.vmap(noted)(slots, decisions, tuple(states))
        stepped = jax.vmap(self._step)(settings, slots_after, batches_of_one(velocity))
        return where_slots(slots.waits, stepped, slots)
