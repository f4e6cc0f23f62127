"""From a generation to the loop: one step's forward, guidance included."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.typing import ArrayLike

from jax_stepcache.check import batch_size
from jax_stepcache.loop.denoise import denoise
from jax_stepcache.loop.forward import Within
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.network.guidance import guide, mix_branches, stack_branches
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
    return loop(
        forward_of(generation, condition, batch_size(noise, "noise")),
        noise,
        schedule=program.schedule,
        solver=program.solver,
        policy=generation.policy,
        progress=program.progress,
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
    return guided_forward(
        program.model,
        generation.weights,
        condition,
        generation.scale if program.guided else None,
        lambda step: timesteps_at(program.schedule, step, rows),
        generation.span,
    )


def guided_forward(
    model: Any,
    weights: Any,
    condition: Any,
    scale: ArrayLike | None,
    timesteps: Callable[[Any], Any],
    span: Span | None,
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

    Returns:
        ``(sample, where) -> velocity``, or the network in stages.
    """

    def network(x: Any, where: Any) -> Any:
        ask = functools.partial(
            model.denoise, weights, t=timesteps(where), condition=condition
        )
        if scale is not None:
            return guide(ask, x, scale, model.guided_outputs)
        return ask(x)

    def embed(x: Any, where: Any) -> Any:
        x = x if scale is None else stack_branches(x, x)
        return model.embed(weights, x, timesteps(where), condition)

    def head(hidden: Any, context: Any) -> Any:
        said = model.head(weights, hidden, context)
        if scale is not None:
            return mix_branches(said, scale, model.guided_outputs)
        return said

    if span is None:
        return network
    look = getattr(model, "modulated", None)
    return Within(
        embed=embed,
        blocks=functools.partial(model.blocks, weights),
        head=head,
        modulated=None if look is None else functools.partial(look, weights),
        num_blocks=model.num_blocks,
        span=span,
        branches=1 if scale is None else 2,
        sigma=functools.partial(_seen_sigma, model.signal_output),
    )


def _seen_sigma(output: str | None, sigmas: Any) -> jax.Array:
    """The noise level of the output that signals look at."""
    if isinstance(sigmas, Mapping) and output in sigmas:
        return jax.tree.leaves(sigmas[output])[0]
    return jax.tree.leaves(sigmas)[0]
