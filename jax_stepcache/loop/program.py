"""From a generation to the loop: one step's forward, guidance included."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.check import batch_size
from jax_stepcache.loop.attending import WithinAttentions
from jax_stepcache.loop.by_block import ByBlock
from jax_stepcache.loop.denoise import Gated, denoise
from jax_stepcache.loop.forward import Whole, Within
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.loop.lists import WithinLists
from jax_stepcache.loop.one_by_one import one_by_one
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.guidance import guide, mix_branches, stack_branches
from jax_stepcache.network.interval import guided_level, scale_within, within
from jax_stepcache.network.offered import asked_in_step
from jax_stepcache.network.one_block import in_stages
from jax_stepcache.network.own import naming_rows
from jax_stepcache.network.rows import RowAxes, leading_axes
from jax_stepcache.network.stage_rows import rows_first, stage_rows
from jax_stepcache.network.stages import check_modulated, pair
from jax_stepcache.policy.span import (
    Attentions,
    EachBlock,
    EachList,
    Span,
    each_branch,
)
from jax_stepcache.solvers.schedule import is_schedule, sigma_at, timesteps_at


def sampled(generation: Generation, loop: Callable[..., Any] = denoise) -> Any:
    """Samples a batch that decides together.

    Args:
        generation: what to sample.
        loop: `denoise`, or `walk`.

    Returns:
        What the loop returns.
    """
    program = generation.program
    condition, noise = begin(generation)
    batch = batch_size(noise, "noise")
    return loop(
        forward_of(generation, condition, batch),
        noise,
        schedule=generation.schedule,
        solver=program.solver,
        policy=generation.policy,
        progress=program.progress,
        seeds=generation.seeds(batch),
    )


def forward_of(
    generation: Generation, condition: Any, batch: int
) -> Callable[[Any, jax.Array], Any] | Gated:
    """One step's forward, guidance included.

    Args:
        generation: what is sampled.
        condition: of the whole generation, see `begin`.
        batch: rows of the sample.

    Returns:
        ``(sample, step) -> velocity``, or the network in stages.
    """
    program = generation.program
    rows = 2 * batch if program.guided else batch
    # One branch of one batch is never taken apart.
    apart = program.guided and generation.span is not None
    axes, interval = None, program.interval if program.guided else None
    if apart:
        axes = generation.own_axes
    if interval is not None or (apart and each_branch(generation.span)):
        axes = condition_axes(
            program.model,
            generation.weights,
            generation.inputs,
            generation.noise,
            program.guided,
        )
    return guided_forward(
        program.model,
        generation.weights,
        condition,
        generation.scale if program.guided else None,
        lambda step: timesteps_at(generation.schedule, step, rows),
        generation.span,
        axes,
        None
        if interval is None
        else lambda step: within(interval, _level(program.model, generation, step)),
        in_step=True,
    )


def guided_forward(
    model: Any,
    weights: Any,
    condition: Any,
    scale: ArrayLike | None,
    timesteps: Callable[[Any], Any],
    span: Span | None,
    axes: RowAxes | None = None,
    guided: Callable[[Any], jax.Array] | None = None,
    in_step: bool = False,
) -> Callable[[Any, Any], Any] | Gated:
    """A model's forward, guidance included.

    Args:
        model: the model.
        weights: its weights.
        condition: of all rows.
        scale: the guidance scale, see `mix_branches`; None for one branch.
        timesteps: from where the sampler stands to what the rows of all branches are
            told.
        span: what may be skipped inside the network; None for all of it.
        axes: the rows of the condition's arrays, by which those of what is looked at
            inside are told; None where they lie as the protocol says.
        guided: from where the sampler stands to whether there is guidance, a bool
            scalar or one for each row; None for always.
        in_step: whether all rows are always at one timestep.

    Returns:
        ``(sample, where) -> velocity``, or the network in stages.
    """
    vary = None if scale is None else getattr(model, "guidance_at", None)
    model = in_stages(asked_in_step(model) if in_step else model, span)

    def told(where: Any) -> Any:
        # Behind a barrier: XLA would rearrange the embedding of a timestep with where
        # it comes from, another way in each loop, and a high frequency makes much of
        # the last bit.
        return jax.lax.optimization_barrier(timesteps(where))

    def ask_some(shown: Any) -> Any:
        some, t, read = shown
        with naming_rows(model, some, read):
            return model.denoise(_anew(weights), some, t=t, condition=read)

    def scaled(where: Any) -> Any:
        now = scale if vary is None else vary(scale, told(where), condition)
        return now if guided is None else scale_within(now, guided(where))

    def mixed(said: Any, where: Any) -> Any:
        return mix_branches(said, scaled(where), model.guided_outputs)

    def network(x: Any, where: Any) -> Any:
        t = told(where)

        def ask(x: Any) -> Any:
            with naming_rows(model, x, condition):
                return model.denoise(_anew(weights), x, t=t, condition=condition)

        if scale is None:
            return ask(x)
        if guided is None:
            return guide(ask, x, scaled(where), model.guided_outputs)
        shown = (stack_branches(x, x), t, condition)
        rows = leading_axes(shown[:2]) + (axes or ())
        wanted = jnp.stack([jnp.asarray(True), guided(where).any()])
        return mixed(one_by_one(ask_some, shown, rows, wanted), where)

    def embed(x: Any, where: Any) -> Any:
        x = x if scale is None else stack_branches(x, x)
        with naming_rows(model, x, condition):
            return pair(model.embed(_anew(weights), x, told(where), condition))

    def embed_through(x: Any, where: Any, stop: int) -> Any:
        at_once = getattr(model, "embed_through", None)
        if at_once is None:
            hidden, context = embed(x, where)
            return blocks(hidden, context, 0, stop)
        x = x if scale is None else stack_branches(x, x)
        return at_once(_anew(weights), x, told(where), condition, stop)

    def head(hidden: Any, context: Any, where: Any) -> Any:
        said = model.head(_anew(weights), hidden, context)
        return said if scale is None else mixed(said, where)

    def blocks(hidden: Any, context: Any, start: int, stop: int) -> Any:
        return model.blocks(_anew(weights), hidden, context, start, stop)

    def modulated(x: Any, where: Any, hidden: Any, context: Any) -> Any:
        said = model.modulated(_anew(weights), hidden, context)
        check_modulated(said)
        if axes is None:
            return said
        if scale is not None:
            x = jax.eval_shape(stack_branches, x, x)
        found = stage_rows(model, weights, x, timesteps(where), condition, axes)
        return rows_first(said, found.modulated, jax.tree.leaves(x)[0].shape[0])

    def times(hidden: Any, context: Any) -> Any:
        return model.times(_anew(weights), hidden, context)

    def shown(x: Any, where: Any) -> Any:
        del where
        x = x if scale is None else stack_branches(x, x)
        return model.shown(x, condition)

    if span is None:
        told_apart = guided is not None and scale is not None
        return Whole(network, guided) if told_apart else network
    if isinstance(span, Attentions):

        def attended(hidden: Any, context: Any, given: Any) -> Any:
            return model.attended(_anew(weights), hidden, context, given)

        level = functools.partial(guided_level, model.signal_output)
        return WithinAttentions(embed, attended, head, 1 if scale is None else 2, level)
    look = getattr(model, "modulated", None)
    kind = ByBlock if isinstance(span, EachBlock) else Within
    whole = kind(
        embed=embed,
        blocks=blocks,
        head=head,
        modulated=None if look is None else modulated,
        num_blocks=model.num_blocks,
        span=span,
        branches=1 if scale is None else 2,
        axes=axes if each_branch(span) and scale is not None else None,
        guided=guided,
        sigma=functools.partial(guided_level, model.signal_output),
        times=None if getattr(model, "times", None) is None else times,
        shown=None if getattr(model, "shown", None) is None else shown,
        embed_through=embed_through,
    )
    if isinstance(span, EachList):
        return WithinLists(whole, model.block_lists, span.spans)
    return whole


def _anew(weights: Any) -> Any:
    """The weights as objects of the trace that is under way.

    A Flax NNX module may write to its variables, counters of random streams among them,
    but only in the trace that made them; a loop's body is another.
    """
    return jax.tree.map(lambda x: x, weights)


def _level(model: Any, generation: Generation, step: jax.Array) -> jax.Array:
    """The noise level of a step, of the output that signals look at."""
    sigmas = jax.tree.map(
        lambda one: sigma_at(one, step), generation.schedule, is_leaf=is_schedule
    )
    return guided_level(model.signal_output, sigmas)
