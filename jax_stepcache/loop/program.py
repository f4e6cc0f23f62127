"""From a generation to the loop: one step's forward, guidance included."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.typing import ArrayLike

from jax_stepcache.check import batch_size
from jax_stepcache.loop.denoise import denoise
from jax_stepcache.loop.forward import Within
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.network.guidance import guide, mix_branches, stack_branches
from jax_stepcache.network.own import naming_rows
from jax_stepcache.network.rows import RowAxes
from jax_stepcache.network.stage_rows import rows_first, stage_rows
from jax_stepcache.network.stages import check_modulated, pair
from jax_stepcache.policy.span import Span
from jax_stepcache.solvers.schedule import timesteps_at


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
) -> Callable[[Any, jax.Array], Any] | Within:
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
    return guided_forward(
        program.model,
        generation.weights,
        condition,
        generation.scale if program.guided else None,
        lambda step: timesteps_at(generation.schedule, step, rows),
        generation.span,
        generation.own_axes if apart else None,
    )


class _Context(NamedTuple):
    """What stages read besides, and the guidance scale of where the sampler stands.

    Attributes:
        own: the model's.
        scale: float32[batch]; None where it is one throughout.
    """

    own: Any
    scale: jax.Array | None


def guided_forward(
    model: Any,
    weights: Any,
    condition: Any,
    scale: ArrayLike | None,
    timesteps: Callable[[Any], Any],
    span: Span | None,
    axes: RowAxes | None = None,
) -> Callable[[Any, Any], Any] | Within:
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

    Returns:
        ``(sample, where) -> velocity``, or the network in stages.
    """

    def told(where: Any) -> Any:
        # Behind a barrier: XLA would rearrange the embedding of a timestep with where
        # it comes from, another way in each loop, and a high frequency makes much of
        # the last bit.
        return jax.lax.optimization_barrier(timesteps(where))

    vary = None if scale is None else getattr(model, "guidance_at", None)

    def network(x: Any, where: Any) -> Any:
        t = told(where)

        def ask(x: Any) -> Any:
            with naming_rows(model, x, condition):
                return model.denoise(_anew(weights), x, t=t, condition=condition)

        if scale is not None:
            now = scale if vary is None else vary(scale, t, condition)
            return guide(ask, x, now, model.guided_outputs)
        return ask(x)

    def embed(x: Any, where: Any) -> Any:
        x = x if scale is None else stack_branches(x, x)
        t = told(where)
        with naming_rows(model, x, condition):
            hidden, context = pair(model.embed(_anew(weights), x, t, condition))
        now = None if vary is None else vary(scale, t, condition)
        return hidden, _Context(context, now)

    def head(hidden: Any, context: _Context) -> Any:
        said = model.head(_anew(weights), hidden, context.own)
        if scale is not None:
            now = scale if context.scale is None else context.scale
            return mix_branches(said, now, model.guided_outputs)
        return said

    def blocks(hidden: Any, context: _Context, start: int, stop: int) -> Any:
        return model.blocks(_anew(weights), hidden, context.own, start, stop)

    def modulated(x: Any, where: Any, hidden: Any, context: _Context) -> Any:
        said = model.modulated(_anew(weights), hidden, context.own)
        check_modulated(said)
        if axes is None:
            return said
        if scale is not None:
            x = jax.eval_shape(stack_branches, x, x)
        found = stage_rows(model, weights, x, timesteps(where), condition, axes)
        return rows_first(said, found.modulated, jax.tree.leaves(x)[0].shape[0])

    def times(hidden: Any, context: _Context) -> Any:
        return model.times(_anew(weights), hidden, context.own)

    def shown(x: Any, where: Any) -> Any:
        del where
        x = x if scale is None else stack_branches(x, x)
        return model.shown(x, condition)

    if span is None:
        return network
    look = getattr(model, "modulated", None)
    return Within(
        embed=embed,
        blocks=blocks,
        head=head,
        modulated=None if look is None else modulated,
        num_blocks=model.num_blocks,
        span=span,
        branches=1 if scale is None else 2,
        sigma=functools.partial(_seen_sigma, model.signal_output),
        times=None if getattr(model, "times", None) is None else times,
        shown=None if getattr(model, "shown", None) is None else shown,
    )


def _anew(weights: Any) -> Any:
    """The weights as objects of the trace that is under way.

    A Flax NNX module may write to its variables, counters of random streams among them,
    but only in the trace that made them; a loop's body is another.
    """
    return jax.tree.map(lambda x: x, weights)


def _seen_sigma(output: str | None, sigmas: Any) -> jax.Array:
    """The noise level of the output that signals look at."""
    if isinstance(sigmas, Mapping) and output in sigmas:
        return jax.tree.leaves(sigmas[output])[0]
    return jax.tree.leaves(sigmas)[0]
