"""What is compiled for requests in slots: one program for all of the same shapes."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.batching.forward import Network
from jax_stepcache.batching.loop import Running, run_slots
from jax_stepcache.batching.per_sample import forward_for
from jax_stepcache.batching.slots import Slots, empty_trace
from jax_stepcache.loop.placeholders import Bits, as_bits, as_numbers
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.beside import sharding_beside
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.interval import Interval
from jax_stepcache.network.rows import with_rows
from jax_stepcache.policy.span import Span, apart_in
from jax_stepcache.requests.places import Entry, Places, Queue, QueueFeed, at_rest
from jax_stepcache.solvers import Solver


class Plan(NamedTuple):
    """What a program depends on besides shapes: static and hashable.

    Attributes:
        model: the model.
        solver: the solver.
        guided: whether both branches run.
        span: what the policies may skip inside the network; None for all of it.
        slots: how many requests run side by side.
        max_steps: steps that any request may take.
        interval: noise levels between which there is guidance; None for all.
        parts: what policies are made of; see `parts_of`.
    """

    model: Any
    solver: Solver
    guided: bool
    span: Span | None
    slots: int
    max_steps: int
    interval: Interval | None = None
    parts: int = 0

    @property
    def noted(self) -> tuple[int, ...]:
        """What decides apart at a step; see `apart_in`."""
        blocks = getattr(self.model, "num_blocks", 0)
        branches = 2 if self.guided else 1
        return apart_in(self.span, branches, blocks, self.interval is not None)


class State(NamedTuple):
    """Places and slots between two programs. All of it is donated to the next one.

    Attributes:
        places: requests and results.
        slots: the slots; of their policies' states the numbers, as against the arrays
            that samples and tokens are remembered in, are `Bits`.
        condition: the rows of their conditions.
    """

    places: Places
    slots: Slots
    condition: Any


class Report(NamedTuple):
    """What a program has done, for the host to read.

    Attributes:
        taken: int32 scalar, how many waiting requests have been taken into slots.
        calls: int32 scalar, network calls.
        finished: bool[places], where results are.
        running: int32[slots], the place of each slot's request; -1 where it is idle.
        nonfinite: bool[slots], whether that had a NaN or an infinity in a velocity.
    """

    taken: jax.Array
    calls: jax.Array
    finished: jax.Array
    running: jax.Array
    nonfinite: jax.Array


@functools.partial(jax.jit, static_argnames=("plan", "places"))
def empty_state(plan: Plan, weights: Any, entry: Entry, places: int) -> State:
    """Makes idle slots, and empty places for requests like one.

    Args:
        plan: the static part.
        weights: the model's.
        entry: any request; only its shapes matter.
        places: how many places.

    Returns:
        The state.
    """
    feed = _feed(plan, weights, entry)
    slot, condition = jax.eval_shape(
        lambda: feed.load(jax.tree.map(jnp.asarray, entry), 0)
    )
    many = _slots_at_rest(_zeros(slot, plan.slots))
    rows = plan.slots * feed.network.branches
    return State(
        Places(
            _zeros(at_rest(entry.settings), places),
            _zeros(entry.inputs, places),
            _zeros(entry.sample, places),
            _zeros(empty_trace(plan.max_steps, plan.noted), places),
            jnp.zeros(places, bool),
        ),
        many._replace(place=jnp.full(plan.slots, -1, jnp.int32)),
        jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            with_rows(condition, feed.axes, rows),
        ),
    )


@functools.partial(jax.jit, donate_argnames=("state",))
def put(state: State, start: jax.Array, together: Entry) -> State:
    """Puts requests into places that lie one after the other.

    Args:
        state: where to put them.
        start: int32 scalar, the first place.
        together: the requests, see `put_together`.

    Returns:
        The state.
    """
    places = state.places

    def at(there: Any, new: Any) -> Any:
        write = functools.partial(_written, start=start)
        return jax.tree.map(write, there, new, is_leaf=_is_bits)

    count = len(together.settings.num_steps)
    return state._replace(
        places=places._replace(
            settings=at(places.settings, together.settings),
            inputs=at(places.inputs, together.inputs),
            sample=at(places.sample, together.sample),
            finished=at(places.finished, jnp.zeros(count, bool)),
        )
    )


@functools.partial(jax.jit, static_argnames=("plan",), donate_argnames=("state",))
def advance(
    plan: Plan,
    weights: Any,
    state: State,
    order: jax.Array,
    count: jax.Array,
    dropped: jax.Array,
    limit: jax.Array,
) -> tuple[State, Report]:
    """Runs slots and turns them over.

    Args:
        plan: the static part.
        weights: the model's.
        state: where to begin.
        order: int32[n], places whose requests wait, the next one first.
        count: int32 scalar, how many.
        dropped: bool[places], requests that are to be left where they are; their slots
            are free.
        limit: int32 scalar, network calls to make at most.

    Returns:
        The state after it, and what has been done.
    """
    slots = state.slots
    slots = slots._replace(cache=as_numbers(slots.cache))
    gone = (slots.place >= 0) & dropped[slots.place]
    slots = slots._replace(
        place=jnp.where(gone, -1, slots.place), waits=slots.waits & ~gone
    )
    feed = _feed(plan, weights, _one(state.places))
    queue = Queue(state.places, order, count, jnp.zeros((), jnp.int32))
    running, calls = run_slots(
        feed.forward, feed, Running(slots, state.condition, queue), limit
    )
    slots = _slots_at_rest(running.slots)
    after = State(running.queue.places, slots, running.condition)
    report = Report(
        running.queue.taken,
        calls,
        after.places.finished,
        after.slots.place,
        after.slots.trace.nonfinite,
    )
    return after, report


def opened_state(plan: Plan, weights: Any, entry: Entry, places: int) -> State:
    """`empty_state`, where the weights are.

    Committed to their devices, so that a request's arrays, wherever they come from,
    never make another program of it.
    """
    state = empty_state(plan, *sent((weights, entry)), places)
    return jax.device_put(state, sharding_beside(weights))


@functools.partial(jax.jit, static_argnames=("count",))
def taken_out(tree: Any, start: jax.Array, count: int) -> tuple[Any, ...]:
    """What is in places that lie one after the other.

    Args:
        tree: of [places, ...] arrays.
        start: int32 scalar, the first place.
        count: how many places.

    Returns:
        The tree of each place, its arrays without that axis.
    """
    return tuple(
        jax.tree.map(lambda x, i=i: _at(x, start + i), tree) for i in range(count)
    )


def _at(x: jax.Array, place: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(x, place, keepdims=False)


def _written(there: Any, new: Any, start: jax.Array) -> Any:
    """An array of places with those from ``start`` on overwritten.

    In place: the arrays of a tuple are not stacked before, which would be a copy.
    """
    if isinstance(there, Bits):
        as_they_rest = jax.tree.map(lambda x: x.bits, as_bits(new), is_leaf=_is_bits)
        return replace(there, bits=_written(there.bits, as_they_rest, start))
    if not isinstance(new, tuple):
        new = new.astype(there.dtype)
        return jax.lax.dynamic_update_slice_in_dim(there, new, start, 0)
    for i, one in enumerate(new):
        there = jax.lax.dynamic_update_index_in_dim(
            there, jnp.asarray(one, there.dtype), start + i, 0
        )
    return there


def _is_bits(x: Any) -> bool:
    return isinstance(x, Bits)


def _slots_at_rest(slots: Slots) -> Slots:
    # An axis of slots, and one of guidance branches: what is left are numbers.
    return slots._replace(cache=as_bits(slots.cache, most_axes=2))


def _feed(plan: Plan, weights: Any, entry: Entry) -> QueueFeed:
    network = Network(plan.model, weights, plan.solver, plan.guided, plan.interval)
    axes = condition_axes(plan.model, weights, entry.inputs, entry.sample, plan.guided)
    return QueueFeed(
        network,
        forward_for(network, plan.span, axes),
        axes,
        plan.max_steps,
        plan.noted,
    )


def _one(places: Places) -> Entry:
    """Structs of what is in one place."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
        Entry(places.settings, places.inputs, places.sample),
    )


def _zeros(tree: Any, count: int) -> Any:
    return jax.tree.map(
        lambda x: jnp.zeros((count, *jnp.shape(x)), jnp.result_type(x)), tree
    )
