"""What `sample` compiles: a model, its schedule and solver, and a policy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jax_stepcache.check import batch_size
from jax_stepcache.loop.denoise import denoise
from jax_stepcache.loop.forward import Within
from jax_stepcache.loop.progress import Progress
from jax_stepcache.network.guidance import guide, mix_branches, stack_branches
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.solvers import Solver
from jax_stepcache.solvers.schedule import Schedule, num_steps_of, timesteps_at


class Program(NamedTuple):
    """What a compiled sampler depends on besides shapes: all static and hashable."""

    model: Any
    schedules: tuple[Schedule, ...]
    schedule_structure: Any
    solver: Solver
    guided: bool
    progress: Progress | None

    @property
    def schedule(self) -> Any:
        """The schedule, or one for each output."""
        return jax.tree.unflatten(self.schedule_structure, self.schedules)

    @property
    def num_steps(self) -> int:
        """The schedule's step count."""
        return num_steps_of(self.schedule)


def sampled(
    program: Program,
    weights: Any,
    policy: Policy,
    inputs: Inputs,
    noise: Any,
    key: jax.Array | None,
    scale: jax.Array,
    loop: Callable[..., Any] = denoise,
) -> Any:
    """Samples.

    Args:
        program: the static part.
        weights: the model's.
        policy: the cache policy.
        inputs: what the network is shown.
        noise: the sample at the first sigma, or None.
        key: draws it, where it is None.
        scale: float32 scalar, the guidance scale.
        loop: `denoise`, or `walk`.

    Returns:
        What the loop returns.
    """
    condition, noise = begin(program, weights, inputs, noise, key)
    span = getattr(policy, "span", None)
    rows = batch_size(noise, "noise")
    return loop(
        forward_of(program, weights, condition, rows, scale, span),
        noise,
        schedule=program.schedule,
        solver=program.solver,
        policy=policy,
        progress=program.progress,
    )


def begin(
    program: Program, weights: Any, inputs: Inputs, noise: Any, key: jax.Array | None
) -> tuple[Any, Any]:
    """What is made once a generation: the condition, and the noise; see `sampled`."""
    condition = inputs.condition
    if inputs.observation is not None:
        condition = program.model.prepare(weights, inputs.observation, program.guided)
    if noise is None and key is not None:
        batch = batch_size(inputs.observation, "observation")
        noise = draw_noise(key, program.model.noise_struct(batch))
    return condition, noise


def forward_of(
    program: Program,
    weights: Any,
    condition: Any,
    batch: int,
    scale: jax.Array,
    span: Span | None,
) -> Callable[[Any, jax.Array], Any] | Within:
    """One step's forward, guidance included.

    Args:
        program: the static part.
        weights: the model's.
        condition: of the whole generation.
        batch: rows of the sample.
        scale: float32 scalar, the guidance scale.
        span: what may be skipped inside the network; None for all of it.

    Returns:
        ``(sample, step) -> velocity``, or the network in stages.
    """
    rows = 2 * batch if program.guided else batch
    return guided_forward(
        program.model,
        weights,
        condition,
        scale if program.guided else None,
        lambda step: timesteps_at(program.schedule, step, rows),
        span,
    )


def guided_forward(
    model: Any,
    weights: Any,
    condition: Any,
    scale: jax.Array | None,
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


def draw_noise(key: jax.Array, struct: Any) -> Any:
    """Draws the sample at the first sigma.

    Args:
        key: a PRNG key.
        struct: pytree of `jax.ShapeDtypeStruct`.

    Returns:
        Standard normal arrays, from one key for each output.
    """
    leaves, structure = jax.tree.flatten(struct)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(k, x.shape, x.dtype)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def _seen_sigma(output: str | None, sigmas: Any) -> jax.Array:
    """The noise level of the output that signals look at."""
    if isinstance(sigmas, Mapping) and output in sigmas:
        return jax.tree.leaves(sigmas[output])[0]
    return jax.tree.leaves(sigmas)[0]
