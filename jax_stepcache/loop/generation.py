"""One generation: what is compiled of it, and the arrays it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import batch_size
from jax_stepcache.loop.progress import Progress, TqdmProgress
from jax_stepcache.meshes.beside import brought_together, check_near, context_mesh
from jax_stepcache.meshes.explicit import (
    automatic_context,
    in_automatic_context,
    with_automatic_axes,
)
from jax_stepcache.meshes.layout import spread_rows
from jax_stepcache.network.beginning import drawn_like
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.network.interval import Interval
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.own_rows import both_branches, own_axes
from jax_stepcache.network.rows import RowAxes
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.asked import Asked
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.span import Span
from jax_stepcache.solvers import Solver, SolverTable
from jax_stepcache.solvers.schedule import Schedule, is_schedule, num_steps_of
from jax_stepcache.solvers.stochastic import draws_noise, seeds_of
from jax_stepcache.solvers.table import Calls

T = TypeVar("T")


class Program(NamedTuple):
    """What a compiled sampler depends on besides shapes: all static and hashable.

    Of the policy, whose numbers are data, `parts_of` tells which parts it is made of.
    """

    model: Any
    schedules: tuple[Schedule | Calls, ...]
    schedule_structure: Any
    solver: Solver
    guided: bool
    progress: Progress | TqdmProgress | None
    differentiable: bool = False
    interval: Interval | None = None
    parts: int = 0

    @property
    def schedule(self) -> Any:
        """The schedule, or one for each output; of tables only the number of calls."""
        return jax.tree.unflatten(self.schedule_structure, self.schedules)

    @property
    def num_steps(self) -> int:
        """The schedule's step count."""
        return self.schedules[0].num_steps


def program_of(
    model: Any,
    schedule: Any,
    solver: Solver,
    guided: bool,
    progress: Progress | TqdmProgress | None,
    differentiable: bool = False,
    interval: Interval | None = None,
    parts: int = 0,
) -> Program:
    """Makes a program of a schedule, or of a tree of them, which has no hash."""
    num_steps = num_steps_of(schedule)
    schedules, structure = jax.tree.flatten(schedule, is_leaf=is_schedule)
    static = (Calls(num_steps) if isinstance(s, SolverTable) else s for s in schedules)
    return Program(
        model,
        tuple(static),
        structure,
        solver,
        guided,
        progress,
        differentiable,
        interval,
        parts,
    )


def tables_of(schedule: Any) -> tuple[SolverTable, ...] | None:
    """The tables in a tree of them, in order; None for schedules."""
    found = tuple(jax.tree.leaves(schedule, is_leaf=is_schedule))
    return found if isinstance(found[0], SolverTable) else None


@register_dataclass
@dataclass(frozen=True)
class Generation:
    """One generation, ready to run: a pytree whose static part is the program.

    Attributes:
        program: what is compiled.
        weights: the model's.
        policy: the cache policy.
        inputs: what the network is shown.
        noise: the sample at the first sigma, a pytree of [batch, ...] arrays; or None.
        key: draws it, where it is None, and the noise of steps.
        scale: float32 scalar, the guidance scale; or float32[batch].
        asked: what is asked of the policy, for the result.
        tables: what the solver steps by, in the order of the program's schedules; None
            where these are no tables.
    """

    program: Program = field(metadata={"static": True})
    weights: Any
    policy: Policy
    inputs: Inputs
    noise: Any
    key: jax.Array | None
    scale: jax.Array | np.ndarray
    asked: Asked = field(default_factory=Asked)
    tables: tuple[SolverTable, ...] | None = None

    @property
    def schedule(self) -> Any:
        """The schedule or table, or one for each output."""
        if self.tables is None:
            return self.program.schedule
        return jax.tree.unflatten(self.program.schedule_structure, self.tables)

    @property
    def span(self) -> Span | None:
        """What the policy may skip inside the network; None for all of it."""
        return getattr(self.policy, "span", None)

    @property
    def own_axes(self) -> RowAxes | None:
        """The rows of a user's condition; None for a model that prepares its own."""
        model = self.program.model
        if not isinstance(model, FunctionModel):
            return None
        return own_axes(model, self.weights, self.inputs.condition, self.noise)

    def seeds(self, batch: int) -> jax.Array | None:
        """Seeds of the samples, uint32[batch, 2]; None where the solver draws none."""
        if self.key is None or not draws_noise(self.program.solver):
            return None
        return seeds_of(self.key, batch)

    def check_near(self) -> None:
        """Checks that its arrays are where the weights are; see `check_near`."""
        inputs = self.inputs
        check_near(
            self.weights,
            noise=self.noise,
            observation=inputs.observation,
            condition=inputs.condition,
            negative_condition=inputs.negative,
            key=self.key,
            guidance_scale=self.scale,
            cache=self.policy,
        )


def run_together(run: Callable[[Generation], T], generation: Generation) -> T:
    """Runs a compiled sampler; arrays on several devices are brought together first.

    They are looked at only where JAX has refused them: it takes time to look at all
    weights, and nearly always there is nothing to see.

    Args:
        run: the sampler.
        generation: what to sample.

    Returns:
        What the sampler returns.

    Raises:
        ValueError: where the sampler does and all arrays are together already; or for
            one that was put for good where the weights are not.
    """
    try:
        return run(generation)
    except ValueError:
        context = context_mesh()
        with automatic_context():
            generation.check_near()
            automatic = with_automatic_axes(generation)
            rest = replace(automatic, weights=None)
            weights, rest = brought_together(automatic.weights, rest)
        together = replace(rest, weights=weights)
        pairs = zip(*map(jax.tree.leaves, (generation, together)), strict=True)
        explicit = context is not None and bool(context.explicit_axes)
        if not explicit and all(x is y for x, y in pairs):
            raise
    return in_automatic_context(run)(together)


def begin(generation: Generation) -> tuple[Any, Any]:
    """What is made once a generation: the condition, and the noise."""
    model = generation.program.model
    inputs, noise = generation.inputs, generation.noise
    condition = inputs.condition
    if inputs.observation is not None:
        condition = model.prepare(
            generation.weights, inputs.observation, generation.program.guided
        )
    elif inputs.negative is not None:
        condition = both_branches(
            model, generation.weights, condition, inputs.negative, noise
        )
    if noise is None and generation.key is not None:
        noise = _drawn(model, generation.key, inputs.observation)
    return condition, spread_rows(model, noise)


def _drawn(model: Any, key: jax.Array, observation: Any) -> Any:
    """The noise of a batch; where each sample has a key, as it would be alone."""
    each = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim
    batch = len(key) if each else batch_size(observation, "observation")
    return drawn_like(key, model.noise_struct(batch))
