"""Places: where requests wait with what they bring, and results stay until fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.batching.forward import Network, SlotForward
from jax_stepcache.batching.loop import Running
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots, Trace, begun, empty_trace
from jax_stepcache.loop.placeholders import as_bits, as_numbers
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.network.rows import RowAxes, put_rows, stack_rows, take_rows
from jax_stepcache.policy.asked import Asked


class Entry(NamedTuple):
    """One request, checked: what is put into a place.

    Attributes:
        settings: its numbers.
        inputs: its observation or condition, a batch of one. A condition that a model
            has prepared has two rows under guidance.
        sample: its noise, a batch of one.
        asked: what is asked of its cache.
    """

    settings: Settings
    inputs: Inputs
    sample: Any
    asked: Asked = Asked()


class Places(NamedTuple):
    """All places; every array has a leading axis of places.

    Attributes:
        settings: the requests' numbers; see `at_rest`.
        inputs: what they show the network.
        sample: their noise, until their result is put there.
        trace: what they did, once they are finished.
        finished: bool, whether the result is there.
    """

    settings: Settings
    inputs: Inputs
    sample: Any
    trace: Trace
    finished: jax.Array


class Queue(NamedTuple):
    """The places, and which are to be taken next.

    Attributes:
        places: all of them.
        order: int32[n], places whose requests wait, the next one first.
        waiting: int32 scalar, how many of these there are.
        taken: int32 scalar, how many have been taken.
    """

    places: Places
    order: jax.Array
    waiting: jax.Array
    taken: jax.Array


@dataclass(frozen=True)
class QueueFeed:
    """Slots take requests from places, and put results there.

    Attributes:
        network: what all slots share.
        forward: how they come by their velocities.
        axes: the rows of the condition's arrays.
        max_steps: steps that any request may take.
        traced_branches: guidance branches whose decisions are kept apart; or None.
    """

    network: Network
    forward: SlotForward
    axes: RowAxes
    max_steps: int
    traced_branches: int | None

    def settings(self, running: Running) -> Settings:
        """See `Feed.settings`."""
        # Looked up anew in each round: a copy for the slots would have to be kept up.
        place = running.slots.place
        there = running.queue.places.settings
        return as_numbers(jax.tree.map(lambda x: x[place], there))

    def pending(self, running: Running) -> jax.Array:
        """See `Feed.pending`."""
        return self._pending(running).any()

    def turn(self, running: Running) -> Running:
        """See `Feed.turn`."""
        slots, queue = running.slots, running.queue
        pending = self._pending(running)
        turned = jnp.argmax(pending)
        slot = jax.tree.map(lambda x: x[turned], slots)
        retires = pending[turned] & (slot.place >= 0)
        takes = pending[turned] & (queue.taken < queue.waiting)
        places = _put_away(queue.places, slot, retires)
        each = jnp.arange(self.network.branches, dtype=turned.dtype)
        rows = turned + len(slots.place) * each
        at = queue.order[jnp.minimum(queue.taken, len(queue.order) - 1)]

        def take() -> tuple[Slots, Any]:
            settings, inputs, sample = (
                jax.tree.map(lambda x: x[at], tree)
                for tree in (places.settings, places.inputs, places.sample)
            )
            entry = Entry(as_numbers(settings), inputs, sample)
            new, condition = self.load(entry, at)
            trace = new.trace._replace(slot=turned)
            new = new._replace(clock=slot.clock, trace=trace)
            return jax.tree.map(
                lambda x, old: x.astype(old.dtype), new, slot
            ), condition

        def leave() -> tuple[Slots, Any]:
            place = jnp.where(retires, -1, slot.place)
            condition = take_rows(running.condition, self.axes, rows)
            return slot._replace(place=place), condition

        slot, condition = jax.lax.cond(takes, take, leave)
        return Running(
            jax.tree.map(lambda x, new: x.at[turned].set(new), slots, slot),
            put_rows(running.condition, self.axes, rows, condition),
            queue._replace(places=places, taken=queue.taken + takes.astype(jnp.int32)),
        )

    def load(self, entry: Entry, place: Any) -> tuple[Slots, Any]:
        """Makes a slot of a request.

        Args:
            entry: the request.
            place: int32 scalar, where it is.

        Returns:
            The slot, without its leading axis, and the rows of its condition.
        """
        condition, model = entry.inputs.condition, self.network.model
        if entry.inputs.observation is not None:
            condition = model.prepare(
                self.network.weights, entry.inputs.observation, self.network.guided
            )
        elif entry.inputs.negative is not None:
            condition = stack_rows(condition, entry.inputs.negative, self.axes)
        cache = self.forward.init(entry.settings, entry.sample, condition)
        trace = empty_trace(self.max_steps, self.traced_branches)
        solver, seeds = self.network.solver, entry.settings.seeds
        slot = begun(place, entry.sample, solver, cache, trace, seeds)
        return slot, condition

    def _pending(self, running: Running) -> jax.Array:
        """Slots that are done, and idle ones where a request waits; bool[slots]."""
        slots, queue = running.slots, running.queue
        idle = slots.place < 0
        done = ~idle & (slots.step >= self.settings(running).num_steps)
        return done | (idle & (queue.taken < queue.waiting))


def at_rest(settings: Settings) -> Settings:
    """Settings as places hold them: a policy may have no limit, an infinity."""
    return settings._replace(policy=as_bits(settings.policy))


def _put_away(places: Places, slot: Slots, when: jax.Array) -> Places:
    # An index past the end is left out.
    at = jnp.where(when, slot.place, len(places.finished))

    def put(there: jax.Array, new: jax.Array) -> jax.Array:
        return there.at[at].set(new, mode="drop")

    return places._replace(
        sample=jax.tree.map(put, places.sample, slot.sample),
        trace=jax.tree.map(put, places.trace, slot.trace),
        finished=places.finished.at[at].set(True, mode="drop"),
    )
