"""Noise levels of a solver, moved as tables are: its coefficients follow them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.table_space import Moved, told_rate
from jax_stepcache.loop.as_table import as_table
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.solvers import SolverTable
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

# Of the distance to the next level, or to pure noise: coefficients are exact in
# float64, so the difference quotient keeps ten digits.
_STEP = 1e-5


@register_dataclass
@dataclass(frozen=True)
class Levels:
    """Where one output's noise levels are moved from, and what steps by them.

    A solver makes its coefficients in NumPy, where no derivative is; so they are kept
    with their slopes, at a move that `around` is told.

    Attributes:
        solver: any that a table can be made of.
        start: the table of its noise levels.
        rate: float32[N], how fast what the network is told moves with the level.
        here: float32[N], the move of the levels that the coefficients are of.
        rows: coefficients of all steps, [N, ...] arrays.
        slopes: their derivatives by each of the N levels, [N, N, ...].
    """

    solver: Any = field(metadata={"static": True})
    start: SolverTable
    rate: jax.Array
    here: jax.Array
    rows: Any
    slopes: Any

    @property
    def most(self) -> jax.Array:
        """The highest level: where the noise is. None else has its variance."""
        return self.start.sigmas[0]

    @property
    def moves_weights(self) -> bool:
        """No: the solver has them."""
        return False

    def around(self, moved: Moved) -> Levels:
        """The same with the coefficients at a move, which is no tracer.

        Args:
            moved: how far levels are moved.

        Returns:
            The levels; those of the moves around are right to first order.
        """
        before = np.asarray(self.start.sigmas, np.float64)
        here = np.asarray(jax.device_get(moved.sigmas), np.float64)
        levels = before.copy()
        levels[:-1] += here
        rows, slopes = _with_slopes(self.solver, levels)
        return replace(
            self, here=jnp.asarray(here, jnp.float32), rows=rows, slopes=slopes
        )

    def table(self, moved: Moved) -> SolverTable:
        """The table of the levels that a move leads to."""
        away = moved.sigmas - self.here
        rows = jax.tree.map(
            lambda row, slope: row + jnp.tensordot(away, slope, 1),
            self.rows,
            self.slopes,
        )
        calls = self.start.num_steps
        units = jnp.eye(calls + 1, dtype=jnp.float32)
        sample, state, reached = units[0], self.solver.init(units[0]), []
        for j in range(calls):
            row = jax.tree.map(lambda x, j=j: x[j], rows)
            sample, state = self.solver.step(row, state, sample, units[j + 1])
            reached.append(sample)
        weights = jnp.stack(reached)
        return SolverTable(
            jnp.append(self.start.sigmas[:-1] + moved.sigmas, self.start.sigmas[-1]),
            self.start.timesteps + self.rate * moved.sigmas,
            weights[:, 0],
            weights[:, 1:],
        )


def levels_around(solver: Any, schedule: Schedule) -> Levels:
    """Makes the levels of a schedule, not yet moved.

    Args:
        solver: any that a table can be made of, with a call a step.
        schedule: the schedule.

    Returns:
        The levels.
    """
    start = as_table(solver, schedule)
    calls = start.num_steps
    float32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)
    rate = jnp.asarray(told_rate(start, schedule), jnp.float32)
    rows, slopes = _with_slopes(solver, np.asarray(schedule.sigmas, np.float64))
    return Levels(solver, float32, rate, jnp.zeros(calls), rows, slopes)


def schedule_of(table: SolverTable) -> Schedule:
    """The schedule whose noise levels a table has."""
    told = np.asarray(table.timesteps, np.float64)
    return explicit_schedule(np.asarray(table.sigmas, np.float64), told)


def _with_slopes(solver: Any, levels: np.ndarray) -> tuple[Any, Any]:
    """Coefficients at some levels, and their derivatives by each but the last."""
    room = np.minimum(-np.diff(levels), 1 - levels[:-1])
    room[1:] = np.minimum(room[1:], -np.diff(levels)[:-1])
    slopes = []
    for i, step in enumerate(_STEP * room):
        # Beyond pure noise there is nothing, so there is no slope either.
        away = np.eye(len(levels))[i] * max(step, 0.0)
        width = 2 * step if step > 0 else np.inf
        above, below = solver.tables(levels + away), solver.tables(levels - away)
        slopes.append(
            jax.tree.map(
                lambda a, b, width=width: (np.asarray(a) - np.asarray(b)) / width,
                above,
                below,
            )
        )
    rows = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), solver.tables(levels.copy())
    )
    return rows, jax.tree.map(lambda *x: jnp.asarray(np.stack(x), jnp.float32), *slopes)
