"""Slots whose policies are around the whole forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.batching.forward import (
    Network,
    batches_of_one,
    rows_of,
    walking,
)
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots, decided, stepped, view_of, where_slots
from jax_stepcache.loop.forward import Whole, like_sample, told_apart
from jax_stepcache.network.rows import RowAxes


@dataclass(frozen=True)
class SlotsAround:
    """A slot walks through its skipped steps by itself, and waits where it must run.

    Attributes:
        network: what all slots share.
        axes: the rows of the condition's arrays.
    """

    network: Network
    axes: RowAxes

    def init(self, settings: Settings, sample: Any, condition: Any) -> Any:
        """See `SlotForward.init`."""
        del condition
        view = view_of(settings, jnp.zeros((), jnp.int32), sample)
        return settings.policy.init(view, settings.num_steps)

    def walk(self, settings: Settings, slots: Slots) -> Slots:
        """See `SlotForward.walk`."""
        after = jax.vmap(self._decide)(settings, slots)
        return where_slots(walking(settings, slots), after, slots)

    def waits_at_once(self, settings: Settings, slots: Slots) -> bool:
        """See `SlotForward.waits_at_once`: where a policy says so as a Python bool."""
        said = []

        def ask(settings: Settings, slot: Slots) -> None:
            view = view_of(settings, slot.step, slot.sample)
            said.append(settings.policy.decide(slot.cache, view).run is True)

        jax.eval_shape(jax.vmap(ask), settings, slots)
        return all(said)

    def call(self, settings: Settings, slots: Slots, condition: Any) -> Slots:
        """See `SlotForward.call`."""
        network = self.network.forward(settings, condition, None, self.axes)
        if isinstance(network, Whole):
            network = network.network
        sample = rows_of(slots.sample)
        velocity = like_sample(sample, network(sample, slots.step))
        after = jax.vmap(self._record)(settings, slots, batches_of_one(velocity))
        return where_slots(slots.waits, after, slots)

    def _decide(self, settings: Settings, slot: Slots) -> Slots:
        policy, view = settings.policy, view_of(settings, slot.step, slot.sample)
        decision = policy.decide(slot.cache, view)
        noted = decision
        if self.network.told_apart:
            guided = self.network.guided_at(settings, slot.step) & (settings.scale != 1)
            noted = told_apart(decision, guided)
        slot = decided(slot, noted)
        waiting = slot._replace(waits=jnp.ones((), bool))
        if decision.run is True:
            return waiting
        velocity = like_sample(slot.sample, policy.predict(slot.cache, view))
        reused = stepped(slot, settings, self.network.solver, velocity, slot.cache)
        return jax.tree.map(
            lambda run, reuse: jnp.where(decision.run, run, reuse), waiting, reused
        )

    def _record(self, settings: Settings, slot: Slots, velocity: Any) -> Slots:
        view = view_of(settings, slot.step, slot.sample)
        cache = settings.policy.record(slot.cache, view, velocity)
        return stepped(slot, settings, self.network.solver, velocity, cache)
