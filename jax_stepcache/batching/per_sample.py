"""A batch whose samples decide each for itself: ``sample(..., decide="sample")``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.batching.around import SlotsAround
from jax_stepcache.batching.by_block import SlotsByBlock
from jax_stepcache.batching.forward import Network, SlotForward, batches_of_one, rows_of
from jax_stepcache.batching.loop import FixedBatch, Running, run_slots
from jax_stepcache.batching.settings import settings_of
from jax_stepcache.batching.slots import begun, empty_trace
from jax_stepcache.batching.within import SlotsWithin
from jax_stepcache.check import batch_size
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.loop.program import forward_of
from jax_stepcache.loop.result import Batching, SampleResult, stats_of
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.rows import RowAxes, take_rows
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.span import (
    EachBlock,
    Span,
    apart_in,
    check_decides_alone,
)
from jax_stepcache.solvers.schedule import num_steps_of


def forward_for(network: Network, span: Span | None, axes: RowAxes) -> SlotForward:
    """How slots come by their velocities under a policy of this span.

    Raises:
        ValueError: for a span that takes all rows of a batch together.
    """
    check_decides_alone(span)
    if span is None:
        return SlotsAround(network, axes)
    kind = SlotsByBlock if isinstance(span, EachBlock) else SlotsWithin
    return kind(network, span, axes)


def sampled_each(generation: Generation) -> SampleResult:
    """Samples as `loop.program.sampled` does; each sample decides for itself.

    Args:
        generation: what to sample.

    Returns:
        See `denoise_each`.
    """
    program, weights = generation.program, generation.weights
    condition, noise = begin(generation)
    network = Network(
        program.model, weights, program.solver, program.guided, program.interval
    )
    own = isinstance(program.model, FunctionModel)
    if generation.span is None and own and not network.told_apart:
        # Around the network all rows are shown the whole condition.
        axes = (None,) * len(jax.tree.leaves(condition))
    else:
        axes = condition_axes(
            program.model, weights, generation.inputs, noise, program.guided
        )
    return denoise_each(
        network,
        condition,
        axes,
        noise,
        schedule=generation.schedule,
        policy=generation.policy,
        scale=generation.scale,
        seeds=generation.seeds(batch_size(noise, "noise")),
    )


def walked_each(generation: Generation) -> SampleResult:
    """`sampled_each`, with a sample that has a reverse mode.

    How often the slots' loop goes round is decided on the way, so the samples are made
    once more for it, one after the other, each as if it were alone.

    Args:
        generation: what to sample.

    Returns:
        See `denoise_each`.
    """
    program = generation.program
    condition, noise = begin(generation)
    batch = batch_size(noise, "noise")
    scales = jnp.broadcast_to(generation.scale, (batch,))
    axes = condition_axes(
        program.model, generation.weights, generation.inputs, noise, program.guided
    )

    seeds = generation.seeds(batch)

    def one(i: jax.Array) -> Any:
        rows = i + jnp.arange(2 if program.guided else 1) * batch
        alone = replace(generation, scale=scales[i])
        result, _ = walk(
            forward_of(alone, take_rows(condition, axes, rows), 1),
            jax.tree.map(lambda x: x[i][None], noise),
            schedule=generation.schedule,
            solver=program.solver,
            policy=generation.policy,
            seeds=None if seeds is None else seeds[i][None],
            remat=program.differentiable,
        )
        return jax.tree.map(lambda x: x[0], result.sample)

    samples = jax.lax.map(one, jnp.arange(batch))
    return sampled_each(jax.lax.stop_gradient(generation))._replace(sample=samples)


def denoise_each(
    network: Network,
    condition: Any,
    axes: RowAxes,
    noise: Any,
    *,
    schedule: Any,
    policy: Policy,
    scale: ArrayLike,
    seeds: jax.Array | None = None,
) -> SampleResult:
    """Samples a batch in which each sample decides for itself.

    Args:
        network: the network, guidance included.
        condition: rows of all branches, the conditional ones first.
        axes: the rows of its arrays.
        noise: pytree of [batch, ...] arrays.
        schedule: a schedule, or one for each output.
        policy: the cache policy, the same for all.
        scale: the guidance scale, a float32 scalar or float32[batch].
        seeds: uint32[batch, 2], for a solver that draws noise.

    Returns:
        The samples [batch, ...], and the statistics with a leading axis of the batch.
    """
    batch = batch_size(noise, "noise")
    span = getattr(policy, "span", None)
    forward = forward_for(network, span, axes)
    num_steps = num_steps_of(schedule)
    one = jax.tree.map(
        jnp.asarray,
        settings_of(schedule, network.solver, policy, 0.0, noise, num_steps),
    )
    settings = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), one)
    each = None if seeds is None else seeds[:, None]
    settings = settings._replace(scale=jnp.broadcast_to(scale, (batch,)), seeds=each)
    # Static here, so that a mask of another length is told.
    one = one._replace(num_steps=num_steps)
    samples = batches_of_one(noise)
    blocks = getattr(network.model, "num_blocks", 0)
    noted = apart_in(span, network.branches, blocks, network.told_apart)

    def start(place: jax.Array, sample: Any, seeds: Any, rows: Any) -> Any:
        cache = forward.init(one, sample, rows)
        trace = empty_trace(num_steps, noted)._replace(slot=place)
        return begun(place, sample, network.solver, cache, trace, seeds)

    rows = jnp.arange(network.branches) * batch
    places = jnp.arange(batch, dtype=jnp.int32)
    first = take_rows(condition, axes, rows)
    slots = jax.vmap(start, in_axes=(0, 0, 0, None))(places, samples, each, first)
    running, calls = run_slots(
        forward, FixedBatch(settings), Running(slots, condition, ())
    )
    *trace, slot, call = running.slots.trace
    calls, inside = (jnp.full(batch, x) for x in (calls, span is not None))
    batching = Batching(slot, call, calls, inside)
    stats = stats_of(*trace)._replace(batching=batching)
    return SampleResult(rows_of(running.slots.sample), stats)
