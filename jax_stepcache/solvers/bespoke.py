"""The solver that steps by a table; see `SolverTable`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.solvers.schedule import is_schedule
from jax_stepcache.solvers.table import SolverTable, checked_table


class BespokeRow(NamedTuple):
    """What one step takes from a table; with a leading axis of steps, what all take.

    Attributes:
        noise: scalar, the weight of the noise.
        velocities: [calls], those of the velocities.
    """

    noise: Any
    velocities: Any


class BespokeState(NamedTuple):
    """What is carried beside the sample.

    Attributes:
        taken: int32 scalar, velocities so far.
        noise: the sample at the first noise level.
        velocities: [calls, ...], those so far, in the sample's dtype; 0 beyond.
    """

    taken: jax.Array
    noise: jax.Array
    velocities: jax.Array


@dataclass(frozen=True)
class Bespoke:
    """Steps by a table.

    It keeps the noise and all velocities: ``calls + 1`` arrays like the sample, where
    UniPC keeps 3 and Euler none. Requests in slots share one size, that of the longest.

    Attributes:
        calls: rows of the history; at least the table's number of calls.
    """

    calls: int

    def tables(self, sigmas: Sequence[float]) -> NoReturn:
        """See `Solver.tables`; noise levels alone make no table.

        Raises:
            ValueError: always.
        """
        del sigmas
        raise ValueError(
            "Bespoke steps by a table, and was given a schedule of noise levels; "
            "as_table makes one of it, and calibrate(cache='bespoke') a better one"
        )

    def rows(self, table: SolverTable) -> BespokeRow:
        """The coefficients of all steps, as `Solver.tables` gives them.

        Args:
            table: of this many calls, or fewer.

        Returns:
            Arrays with a leading axis of the table's calls.
        """
        weights = jnp.asarray(table.velocities, jnp.float32)
        beyond = self.calls - table.num_steps
        return BespokeRow(
            jnp.asarray(table.noise, jnp.float32),
            jnp.pad(weights, ((0, 0), (0, beyond))),
        )

    def init(self, sample: jax.Array) -> BespokeState:
        """See `Solver.init`."""
        empty = jnp.zeros_like(sample)
        history = jnp.broadcast_to(empty, (self.calls, *sample.shape))
        return BespokeState(jnp.zeros((), jnp.int32), sample, history)

    def step(
        self,
        row: BespokeRow,
        state: BespokeState,
        sample: jax.Array,
        velocity: jax.Array,
    ) -> tuple[jax.Array, BespokeState]:
        """See `Solver.step`."""
        velocities = jax.lax.dynamic_update_index_in_dim(
            state.velocities, velocity.astype(sample.dtype), state.taken, 0
        )
        # Summed one by one, and not as a product of matrices: that one has another
        # precision on every device.
        noise, history = wide(state.noise), wide(velocities)
        weights = row.velocities.astype(noise.dtype)
        weights = weights.reshape(-1, *(1,) * sample.ndim)
        following = row.noise.astype(noise.dtype) * noise
        following += (weights * history).sum(axis=0)
        after = BespokeState(state.taken + 1, state.noise, velocities)
        return following.astype(sample.dtype), after


def checked_tables(schedule: Any) -> Any:
    """A schedule, or a tree of them, whose tables are checked; all are or none.

    Raises:
        ValueError: if some are, or a table is none; see `checked_table`.
    """
    found = jax.tree.leaves(schedule, is_leaf=is_schedule)
    tables = [isinstance(one, SolverTable) for one in found]
    if not any(tables):
        return schedule
    if not all(tables):
        raise ValueError(
            "some outputs have a table in schedule and others have none; as_table "
            "makes a table of a schedule"
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, one: checked_table(one, "schedule" + jax.tree_util.keystr(path)),
        schedule,
        is_leaf=is_schedule,
    )


def solver_of(tables: Sequence[SolverTable], given: Any = None) -> Bespoke:
    """The solver that steps by some tables.

    Args:
        tables: of one number of calls.
        given: the solver that was asked for, or None.

    Returns:
        The solver.

    Raises:
        ValueError: if another was asked for.
    """
    solver = Bespoke(tables[0].num_steps)
    if given is None or given == solver:
        return solver
    raise ValueError(
        f"solver is {given!r:.80}, and a table is a solver of its own; leave out solver"
    )
