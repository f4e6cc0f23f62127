"""What a solver is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.solvers.schedule import Schedule, explicit_schedule, is_schedule
from jax_stepcache.solvers.stochastic import draws_noise, seeds_of_output
from jax_stepcache.solvers.table import SolverTable


class Solver(Protocol):
    """Steps one array of a sample along the flow. Hashable: it is static."""

    def tables(self, sigmas: Sequence[float]) -> Any:
        """Makes the coefficients of all steps.

        Args:
            sigmas: ``num_steps + 1`` noise levels.

        Returns:
            A pytree of float64 NumPy arrays with a leading axis of ``num_steps``. They
            are made at trace time, so that the loop multiplies by constants.
        """
        ...

    def init(self, sample: jax.Array) -> Any:
        """Makes the state carried beside the sample."""
        ...

    def step(
        self, row: Any, state: Any, sample: jax.Array, velocity: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Takes one step.

        Args:
            row: the tables' entry of this step, float32.
            state: the carried state.
            sample: the sample at this step's sigma.
            velocity: the network's (or a forecast's) velocity there, same shape.

        Returns:
            The sample at the next sigma, and the new state.
        """
        ...


def coefficients(solver: Any, schedule: Any) -> Any:
    """The coefficients of all steps of one output.

    Args:
        solver: the solver; `Bespoke` where the schedule is a table.
        schedule: a `Schedule` or a `SolverTable`.

    Returns:
        See `Solver.tables`. Of a table they are arrays that may be traced.

    Raises:
        ValueError: for a solver that takes noise levels, and a table.
    """
    if not isinstance(schedule, SolverTable):
        return solver.tables(schedule.sigmas)
    if not callable(getattr(solver, "rows", None)):
        raise ValueError(
            f"the schedule is a table, which is a solver of its own; {solver!r:.80} "
            "steps by noise levels. Give Bespoke(calls), or to sample no solver"
        )
    return solver.rows(schedule)


def calls_of(solver: Any, schedule: Any) -> Any:
    """The schedule of network calls, for solvers that make several a step.

    Args:
        solver: the solver; where it has ``expanded``, that makes them.
        schedule: a schedule of solver steps, a table, or a tree of them.

    Returns:
        The same tree, with an entry for each call.
    """
    expanded = getattr(solver, "expanded", None)
    if expanded is None:
        return schedule
    return jax.tree.map(
        lambda one: expanded(one) if isinstance(one, Schedule) else one,
        schedule,
        is_leaf=is_schedule,
    )


def calls_in(solver: Any, num_steps: int) -> int:
    """How many network calls a number of solver steps makes."""
    levels = explicit_schedule(np.linspace(1, 0, num_steps + 1))
    return calls_of(solver, levels).num_steps


def begin_outputs(
    solver: Solver, leaves: Sequence[Any], seeds: jax.Array | None
) -> tuple[Any, ...]:
    """The states of all outputs before the first step.

    Args:
        solver: the solver.
        leaves: the sample's arrays, [batch, ...].
        seeds: of the samples, for a solver that draws noise; see `seeds_of`.

    Returns:
        One state for each.

    Raises:
        ValueError: where a solver that draws noise has no seeds.
    """
    if not draws_noise(solver) or seeds is None:
        return tuple(solver.init(x) for x in leaves)
    init: Any = solver.init
    return tuple(init(x, seeds_of_output(seeds, i)) for i, x in enumerate(leaves))


def step_outputs(
    solver: Solver,
    rows: Sequence[Any],
    states: Sequence[Any],
    sample: Any,
    velocity: Any,
) -> tuple[Any, tuple[Any, ...], jax.Array]:
    """Steps every output of a sample, each with its own coefficients and state.

    Args:
        solver: the solver.
        rows: for each output, the tables' entry of this step.
        states: for each output, the solver's state.
        sample: pytree of arrays, the outputs.
        velocity: the same structure.

    Returns:
        The sample at the next sigma, the new states, and whether all of the velocity
        was finite, a bool scalar.
    """
    leaves, structure = jax.tree.flatten(sample)
    velocities = jax.tree.leaves(velocity)
    stepped = [
        solver.step(row, state, x, v)
        for row, state, x, v in zip(rows, states, leaves, velocities, strict=True)
    ]
    finite = jnp.stack([jnp.isfinite(v).all() for v in velocities]).all()
    after = jax.tree.unflatten(structure, [x for x, _ in stepped])
    return after, tuple(state for _, state in stepped), finite


def row_of(tables: Any, step: jax.Array) -> Any:
    """Picks one step's coefficients from a solver's tables, as float32."""
    return jax.tree.map(
        lambda table: jnp.asarray(_array(table), jnp.float32)[step],
        tables,
    )


def _array(table: Any) -> Any:
    return table if isinstance(table, jax.Array) else np.asarray(table)
