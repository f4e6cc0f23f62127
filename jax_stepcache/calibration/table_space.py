"""The numbers by which a table is moved, so that a step of any of them weighs alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.solvers import SolverTable
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

_LEAST_STEP = 1e-3
"""Between two noise levels."""

# Of the mean square of the noise and velocities: directions in which they hardly differ
# are moved no further than as if they differed by so much.
_RIDGE = 1e-4


class Moved(NamedTuple):
    """How far one output's table has been moved; zeros leave it as it is.

    Attributes:
        sigmas: float32[N], of the noise level of each call.
        weights: float32[N, N + 1], in units of the sample: of noise and velocities made
            orthogonal to each other.
    """

    sigmas: jax.Array
    weights: jax.Array


class Space(NamedTuple):
    """Where one output's table is moved from, and along what.

    Attributes:
        start: the table.
        turn: float32[N + 1, N + 1], from the orthogonal directions to the weights of
            the noise and the velocities.
        rate: float32[N], how fast what the network is told moves with the noise level.
    """

    start: SolverTable
    turn: jax.Array
    rate: jax.Array

    @property
    def most(self) -> float:
        """The highest noise level there may be."""
        return 1.0

    @property
    def moves_weights(self) -> bool:
        """Whether there is more to move than levels."""
        return True

    def around(self, moved: Moved) -> Space:
        """The same: a table's weights are what they are wherever it is moved."""
        del moved
        return self

    def table(self, moved: Moved) -> SolverTable:
        """See `moved_table`."""
        return moved_table(self, moved)


def space_around(
    start: SolverTable, schedule: Schedule, noise: Any, velocities: Any
) -> Space:
    """Makes the space around one output's table.

    Args:
        start: the table.
        schedule: of the sampler it stands for, which tells what the network is told at
            each noise level.
        noise: [batch, ...], where samples began.
        velocities: [N, batch, ...], what the network said on the way.

    Returns:
        The space.
    """
    said = np.asarray(velocities, np.float64)
    calls = len(said)
    both = np.concatenate([np.asarray(noise, np.float64)[None], said])
    both = both.reshape(calls + 1, -1)
    gram = both @ both.T / both.shape[1]
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    turn = np.linalg.inv(np.linalg.cholesky(gram).T)
    return Space(
        jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start),
        jnp.asarray(turn, jnp.float32),
        jnp.asarray(told_rate(start, schedule), jnp.float32),
    )


def space_of(table: SolverTable) -> Space:
    """The space around a table that is not to be moved."""
    calls = table.num_steps
    return Space(table, jnp.eye(calls + 1), jnp.zeros(calls))


def unmoved(space: Any) -> Moved:
    """The start itself."""
    calls = space.start.num_steps
    return Moved(jnp.zeros(calls), jnp.zeros((calls, calls + 1)))


def moved_table(space: Space, moved: Moved) -> SolverTable:
    """The table that a move leads to.

    Args:
        space: where it is moved.
        moved: how far.

    Returns:
        The table. Weights of velocities that are not there yet stay 0.
    """
    start = space.start
    # The turn is triangular: what stays 0 there stays 0 here.
    weights = jnp.tril(moved.weights, 1) @ space.turn.T
    return SolverTable(
        jnp.append(start.sigmas[:-1] + moved.sigmas, start.sigmas[-1]),
        start.timesteps + space.rate * moved.sigmas,
        start.noise + weights[:, 0],
        start.velocities + weights[:, 1:],
    )


def kept_falling(space: Any, moved: Moved) -> Moved:
    """The nearest move, more or less, whose noise levels fall as far as they may."""
    before = space.start.sigmas
    levels = before[:-1] + moved.sigmas
    # From below, each is at least so much above the next; from above, below the last.
    places = jnp.arange(len(levels), dtype=jnp.float32)
    falling = jax.lax.cummin(levels + _LEAST_STEP * places) - _LEAST_STEP * places
    least = before[-1] + _LEAST_STEP * (len(levels) - places)
    levels = jnp.minimum(jnp.maximum(falling, least), space.most - _LEAST_STEP * places)
    return moved._replace(sigmas=levels - before[:-1])


def told_rate(start: SolverTable, schedule: Schedule) -> np.ndarray:
    """How fast what the network is told moves with the noise level of each call.

    Args:
        start: the table.
        schedule: that tells what the network is told at each level.

    Returns:
        float64[N].
    """
    usual = explicit_schedule(schedule.sigmas).timesteps == schedule.timesteps
    if usual or schedule.num_steps < 2:
        return np.full(start.num_steps, 1000.0)
    sigmas: Sequence[float] = schedule.sigmas[:-1]
    slopes = np.gradient(schedule.timesteps, sigmas)
    order = np.argsort(sigmas)
    levels = np.asarray(start.sigmas[:-1])
    return np.interp(levels, np.asarray(sigmas)[order], slopes[order])
