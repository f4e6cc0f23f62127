"""Requests that all have a slot: nobody waits, so nothing is moved between calls."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.batching.forward import Network
from jax_stepcache.batching.loop import FixedBatch, Running, run_slots
from jax_stepcache.batching.per_sample import forward_for
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots, Trace, begun, empty_trace
from jax_stepcache.check import structs_of
from jax_stepcache.loop.placeholders import as_numbers
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.beside import sharding_beside
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.network.rows import RowAxes, rows_side_by_side, take_rows
from jax_stepcache.requests.compiled import Plan
from jax_stepcache.requests.places import Entry, at_rest, condition_of
from jax_stepcache.requests.together import groups, put_together


class Batch(NamedTuple):
    """Requests as one batch; arrays have a leading axis of slots.

    Attributes:
        settings: their numbers; see `at_rest`.
        sample: their noise, [slots, 1, ...].
        inputs: what they show the network, where it is still to be prepared; or None.
        condition: else the rows of all branches as the network reads them.
    """

    settings: Settings
    sample: Any
    inputs: Inputs | None
    condition: Any


class Done(NamedTuple):
    """What has been made of a batch.

    Attributes:
        samples: one of each slot.
        trace: what each did, with a leading axis of slots.
        calls: int32 scalar, network calls.
    """

    samples: tuple[Any, ...]
    trace: Trace
    calls: jax.Array


def axes_of(plan: Plan, weights: Any, entry: Entry) -> RowAxes:
    """The rows of the condition's arrays, of which one request tells."""
    inputs, sample = structs_of((entry.inputs, entry.sample))
    return condition_axes(plan.model, weights, inputs, sample, plan.guided)


def batch_of(
    plan: Plan, weights: Any, axes: RowAxes, entries: Sequence[Entry]
) -> Batch:
    """Brings requests together, where the weights are.

    What they bring is copied once. A device's memory holds it twice then, as the
    requests have it and as the network reads it.

    Args:
        plan: the static part.
        weights: the model's.
        axes: see `axes_of`.
        entries: at most as many as slots; the last one stands in for those that lack.

    Returns:
        The batch. Its arrays are committed to their devices, so that a request's,
        wherever they come from, never make another program of it.
    """
    structure, columns = columns_of(plan, entries)
    batch = brought_together(axes, structure, sent(columns, weights))
    beside = sharding_beside(weights)
    return jax.tree.map(
        lambda x: x if x.committed else jax.device_put(x, beside), batch
    )


def columns_of(plan: Plan, entries: Sequence[Entry]) -> tuple[Any, tuple[Any, ...]]:
    """The structure of an entry, and for each of its arrays those of all entries."""
    entries = [entry._replace(asked=()) for entry in entries]
    (group,) = groups(entries, plan.slots)
    structure = jax.tree.structure(entries[0])
    return structure, tuple(structure.flatten_up_to(put_together(group.items)))


@functools.partial(jax.jit, static_argnames=("axes", "structure"))
def brought_together(axes: RowAxes, structure: Any, columns: tuple[Any, ...]) -> Batch:
    """Makes a batch of requests.

    Args:
        axes: see `axes_of`.
        structure: see `columns_of`.
        columns: likewise.

    Returns:
        The batch.
    """
    one = jax.tree.unflatten(structure, [each[0] for each in columns])
    entries: Entry = jax.tree.map(
        lambda _, each: jnp.stack(each), one, jax.tree.unflatten(structure, columns)
    )
    settings, inputs = at_rest(entries.settings), entries.inputs
    if inputs.observation is not None or inputs.negative is not None:
        return Batch(settings, entries.sample, inputs, None)
    condition = rows_side_by_side(inputs.condition, axes)
    return Batch(settings, entries.sample, None, condition)


@functools.partial(jax.jit, static_argnames=("plan", "axes", "alike"))
def sampled_at_once(
    plan: Plan,
    axes: RowAxes,
    alike: bool,
    weights: Any,
    batch: Batch,
    count: jax.Array,
) -> Done:
    """Samples a batch of requests; each decides for itself.

    Args:
        plan: the static part.
        axes: see `axes_of`.
        alike: whether all wait at each step, and have as many of them; then the number
            of calls is known.
        weights: the model's.
        batch: the requests.
        count: int32 scalar, how many of the slots have one.

    Returns:
        What has been made of it.
    """
    network = Network(plan.model, weights, plan.solver, plan.guided, plan.interval)
    settings = as_numbers(batch.settings)
    condition = batch.condition
    if batch.inputs is not None:  # One after the other, as if each were alone.
        prepare = functools.partial(condition_of, network, axes)
        condition = rows_side_by_side(jax.lax.map(prepare, batch.inputs), axes)
    forward = forward_for(network, plan.span, axes)
    first = take_rows(condition, axes, jnp.arange(network.branches) * plan.slots)

    def start(slot: jax.Array, settings: Settings, sample: Any) -> Slots:
        cache = forward.init(settings, sample, first)
        trace = empty_trace(plan.max_steps, plan.noted)
        place = jnp.where(slot < count, slot, -1)
        trace = trace._replace(slot=slot)
        return begun(place, sample, network.solver, cache, trace, settings.seeds)

    each = jnp.arange(plan.slots, dtype=jnp.int32)
    slots = jax.vmap(start)(each, settings, batch.sample)
    running, calls = run_slots(
        forward,
        FixedBatch(settings),
        Running(slots, condition, ()),
        calls=plan.max_steps if alike else None,
    )
    samples = tuple(
        jax.tree.map(lambda x, i=i: x[i], running.slots.sample)
        for i in range(plan.slots)
    )
    return Done(samples, running.slots.trace, calls)


def are_alike(plan: Plan, entries: Sequence[Entry]) -> bool:
    """Whether the number of calls is known; see `sampled_at_once`."""
    steps = np.asarray([entry.settings.num_steps for entry in entries])
    return plan.span is not None and bool(np.all(steps == plan.max_steps))
