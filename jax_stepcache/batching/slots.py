"""Slots: requests under way side by side, each at a step of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.batching.settings import Settings
from jax_stepcache.loop.placeholders import NOTHING, bits
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.view import View
from jax_stepcache.solvers import Solver
from jax_stepcache.solvers.base import begin_outputs, step_outputs


class Trace(NamedTuple):
    """What a request has done so far; see `jax_stepcache.Stats`.

    Attributes:
        computed: bool[steps].
        ran: bool[steps, branches], where guidance branches decide apart, with a further
            axis where blocks do; or None.
        signal: int32[steps] or with the axes of ``ran``, the signal's bits.
        threshold: the same, of the threshold.
        nonfinite: bool scalar.
        slot: int32 scalar, the slot it is in.
        call: int32[steps], the slots' clock when each step was decided.
    """

    computed: jax.Array
    ran: jax.Array | None
    signal: jax.Array
    threshold: jax.Array
    nonfinite: jax.Array
    slot: jax.Array
    call: jax.Array


class Slots(NamedTuple):
    """The slots' state; every array has a leading axis of slots.

    The functions below take one slot, without that axis; the loop maps them.

    Attributes:
        place: int32, where the slot's request has its settings; -1 while it is idle.
        step: int32, the request's next step.
        waits: bool, whether it has decided to run the network at that step.
        clock: int32, network calls so far; the same in all slots.
        sample: a batch of one, [slots, 1, ...] arrays.
        solver: one solver state for each output.
        cache: the policy's state.
        trace: what it has done so far.
    """

    place: jax.Array
    step: jax.Array
    waits: jax.Array
    clock: jax.Array
    sample: Any
    solver: tuple[Any, ...]
    cache: Any
    trace: Trace


def begun(
    place: Any, sample: Any, solver: Solver, cache: Any, trace: Trace, seeds: Any
) -> Slots:
    """A slot before its request's first step; seeds are those of `Settings`."""
    return Slots(
        jnp.asarray(place, jnp.int32),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        sample,
        begin_outputs(solver, jax.tree.leaves(sample), seeds),
        cache,
        trace,
    )


def empty_trace(max_steps: int, noted: tuple[int, ...]) -> Trace:
    """The trace before the first step.

    Args:
        max_steps: length of its rows.
        noted: what decides apart at a step; see `apart_in`.
    """
    shape = (max_steps, *noted)
    return Trace(
        jnp.zeros(max_steps, bool),
        jnp.zeros(shape, bool) if noted else None,
        jnp.full(shape, NOTHING, jnp.int32),
        jnp.full(shape, NOTHING, jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        jnp.zeros(max_steps, jnp.int32),
    )


def view_of(settings: Settings, step: jax.Array, sample: Any) -> View:
    """What a request's policy sees at a step."""
    sigmas = [row[step] for row in settings.sigmas]
    return View(step, jax.tree.unflatten(jax.tree.structure(sample), sigmas), sample)


def decided(slot: Slots, decision: Decision) -> Slots:
    """Notes a decision about the slot's step."""
    trace, at = slot.trace, slot.step
    trace = trace._replace(
        computed=trace.computed.at[at].set(decision.run),
        ran=None if trace.ran is None else trace.ran.at[at].set(decision.ran),
        signal=trace.signal.at[at].set(bits(decision.signal)),
        threshold=trace.threshold.at[at].set(bits(decision.threshold)),
        call=trace.call.at[at].set(slot.clock),
    )
    return slot._replace(cache=decision.state, trace=trace)


def stepped(
    slot: Slots, settings: Settings, solver: Solver, velocity: Any, cache: Any
) -> Slots:
    """Takes a solver step with a velocity, computed or forecast."""
    rows = [
        jax.tree.map(lambda row: row[slot.step], table) for table in settings.tables
    ]
    sample, states, finite = step_outputs(
        solver, rows, slot.solver, slot.sample, velocity
    )
    return slot._replace(
        step=slot.step + 1,
        waits=jnp.zeros((), bool),
        sample=sample,
        solver=states,
        cache=cache,
        trace=slot.trace._replace(nonfinite=slot.trace.nonfinite | ~finite),
    )


def where_slots(which: jax.Array, new: Slots, old: Slots) -> Slots:
    """Takes some slots from one state and the others from another.

    Args:
        which: bool[slots].
        new: state of those.
        old: state of the others; dtypes stay as they are here.

    Returns:
        The state.
    """

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        mask = which.reshape(-1, *(1,) * (b.ndim - 1))
        return jnp.where(mask, a.astype(b.dtype), b)

    return jax.tree.map(pick, new, old)
