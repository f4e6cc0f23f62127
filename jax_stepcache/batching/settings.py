"""The numbers of a request: arrays, so that others run the same program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.policy.gates.padded import padded
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers import Solver, SolverTable
from jax_stepcache.solvers.base import coefficients
from jax_stepcache.solvers.schedule import (
    Schedule,
    is_schedule,
    num_steps_of,
    per_output,
)


class Settings(NamedTuple):
    """The settings of one request, or with a leading axis those of many.

    Attributes:
        num_steps: int32 scalar, how many steps it takes.
        scale: float32 scalar, its guidance scale.
        policy: its cache policy, rows over steps padded to as many as any may have.
        sigmas: for each output float32[steps], the noise levels.
        timesteps: the schedule's structure with float32[steps], what the network is
            told.
        tables: for each output the solver's coefficients, float32[steps, ...].
        seeds: uint32[1, 2], for a solver that draws noise; else None.
    """

    num_steps: Any
    scale: Any
    policy: Any
    sigmas: tuple[Any, ...]
    timesteps: Any
    tables: tuple[Any, ...]
    seeds: Any = None


def settings_of(
    schedule: Any,
    solver: Solver,
    policy: Policy,
    scale: Any,
    sample: Any,
    max_steps: int,
    seeds: Any = None,
) -> Settings:
    """Makes the settings of one request.

    Args:
        schedule: its schedule or table, or one for each output.
        solver: the solver.
        policy: the cache policy.
        scale: the guidance scale.
        sample: pytree of arrays or structs, for its structure.
        max_steps: steps that any request may take.
        seeds: see `Settings`.

    Returns:
        The settings. All but ``policy`` and ``scale`` are NumPy arrays.

    Raises:
        ValueError: if the policy does not fit the step count.
    """
    schedules = per_output(schedule, sample)
    num_steps = num_steps_of(schedule)
    rows = [_rows_of(one, solver, max_steps) for one in schedules]
    return Settings(
        num_steps=np.int32(num_steps),
        scale=scale,
        policy=jax.tree.map(_array, padded(policy, num_steps, max_steps)),
        sigmas=tuple(row.sigmas for row in rows),
        timesteps=jax.tree.map(
            lambda one: _told(one, solver, max_steps),
            schedule,
            is_leaf=is_schedule,
        ),
        tables=tuple(row.tables for row in rows),
        seeds=seeds,
    )


def _array(x: Any) -> Any:
    """An array of what may be a Python number, without sending it to a device."""
    if isinstance(x, jax.Array):
        return x
    # A policy's numbers have 32 bits, also where JAX is told to have more.
    if isinstance(x, bool):
        return np.asarray(x)
    if isinstance(x, int | float):
        return np.asarray(x, np.float32 if isinstance(x, float) else np.int32)
    return np.asarray(x, jnp.result_type(x))


class _Rows(NamedTuple):
    sigmas: Any
    timesteps: Any
    tables: Any


def _rows_of(schedule: Any, solver: Any, length: int) -> _Rows:
    if not isinstance(schedule, SolverTable):
        return _rows(schedule, solver, length)
    return _rows_of_table(schedule, solver, length)


# A table is data and may be traced. One call: its arrays one by one take milliseconds.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _rows_of_table(schedule: SolverTable, solver: Any, length: int) -> _Rows:
    rows = coefficients(solver, schedule)
    return _Rows(
        _padded(schedule.sigmas[:-1], length),
        _padded(schedule.timesteps, length),
        jax.tree.map(lambda row: _padded(row, length), rows),
    )


def _told(schedule: Any, solver: Any, length: int) -> Any:
    """What the network is told at each step, padded."""
    if not isinstance(schedule, SolverTable):
        return _rows(schedule, solver, length).timesteps
    return _padded(schedule.timesteps, length)


@functools.partial(jax.jit, static_argnums=1)
def _padded(row: Any, length: int) -> jax.Array:
    row = jnp.asarray(row, jnp.float32)[:length]
    return jnp.pad(row, [(0, length - len(row))] + [(0, 0)] * (row.ndim - 1))


# Requests have few schedules among them, and a solver's coefficients take their time.
@functools.lru_cache(maxsize=256)
def _rows(schedule: Schedule, solver: Solver, length: int) -> _Rows:
    """What a schedule says of each step, padded."""

    def padded(table: Any) -> np.ndarray:
        table = np.asarray(table, np.float32)[:length]
        after = [(0, length - len(table))] + [(0, 0)] * (table.ndim - 1)
        return np.pad(table, after)

    return _Rows(
        padded(schedule.sigmas[:-1]),
        padded(schedule.timesteps),
        jax.tree.map(padded, solver.tables(schedule.sigmas)),
    )
