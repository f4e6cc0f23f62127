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
from jax_stepcache.network.rows import RowAxes, put_rows, stack_rows
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
        noted: what decides apart at a step; see `apart_in`.
    """

    network: Network
    forward: SlotForward
    axes: RowAxes
    max_steps: int
    noted: tuple[int, ...]

    def settings(self, running: Running) -> Settings:
        """See `Feed.settings`."""
        # Looked up anew in each round: a copy for the slots would have to be kept up.
        place = running.slots.place
        there = running.queue.places.settings
        return as_numbers(jax.tree.map(lambda x: x[place], there))

    def put_away(self, running: Running) -> Running:
        """See `Feed.put_away`."""
        slots, queue = running.slots, running.queue
        done = (slots.place >= 0) & (slots.step >= self.settings(running).num_steps)
        places = _put_away(queue.places, slots, done)
        slots = slots._replace(place=jnp.where(done, -1, slots.place))
        return running._replace(slots=slots, queue=queue._replace(places=places))

    def pending(self, running: Running) -> jax.Array:
        """See `Feed.pending`."""
        queue = running.queue
        return (running.slots.place < 0).any() & (queue.taken < queue.waiting)

    def take(self, running: Running) -> Running:
        """See `Feed.take`."""
        slots, queue = running.slots, running.queue
        free = jnp.argmax(slots.place < 0)
        at = queue.order[queue.taken]
        settings, inputs, sample = (
            jax.tree.map(lambda x: x[at], tree)
            for tree in (
                queue.places.settings,
                queue.places.inputs,
                queue.places.sample,
            )
        )
        new, condition = self.load(Entry(as_numbers(settings), inputs, sample), at)
        trace = new.trace._replace(slot=free)
        new = new._replace(clock=slots.clock[free], trace=trace)
        each = jnp.arange(self.network.branches, dtype=free.dtype)
        rows = free + len(slots.place) * each

        def put(there: jax.Array, one: jax.Array) -> jax.Array:
            return there.at[free].set(one.astype(there.dtype))

        return Running(
            jax.tree.map(put, slots, new),
            put_rows(running.condition, self.axes, rows, condition),
            queue._replace(taken=queue.taken + 1),
        )

    def load(self, entry: Entry, place: Any) -> tuple[Slots, Any]:
        """Makes a slot of a request.

        Args:
            entry: the request.
            place: int32 scalar, where it is.

        Returns:
            The slot, without its leading axis, and the rows of its condition.
        """
        condition = condition_of(self.network, self.axes, entry.inputs)
        cache = self.forward.init(entry.settings, entry.sample, condition)
        trace = empty_trace(self.max_steps, self.noted)
        solver, seeds = self.network.solver, entry.settings.seeds
        slot = begun(place, entry.sample, solver, cache, trace, seeds)
        return slot, condition


def condition_of(network: Network, axes: RowAxes, inputs: Inputs) -> Any:
    """What the network is told of one request, prepared.

    Args:
        network: the network.
        axes: the rows of the condition's arrays.
        inputs: the request's.

    Returns:
        The condition, its rows those of the branches.
    """
    if inputs.observation is not None:
        return network.model.prepare(
            network.weights, inputs.observation, network.guided
        )
    if inputs.negative is not None:
        return stack_rows(inputs.condition, inputs.negative, axes)
    return inputs.condition


def at_rest(settings: Settings) -> Settings:
    """Settings as places hold them: a policy may have no limit, an infinity."""
    return settings._replace(policy=as_bits(settings.policy))


def _put_away(places: Places, slots: Slots, which: jax.Array) -> Places:
    # An index past the end is left out.
    at = jnp.where(which, slots.place, len(places.finished))

    def put(there: jax.Array, new: jax.Array) -> jax.Array:
        return there.at[at].set(new, mode="drop")

    return places._replace(
        sample=jax.tree.map(put, places.sample, slots.sample),
        trace=jax.tree.map(put, places.trace, slots.trace),
        finished=places.finished.at[at].set(True, mode="drop"),
    )
