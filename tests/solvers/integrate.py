"""A solver in float64 and plain NumPy, where only its formulas are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_stepcache import Schedule, Solver
from jax_stepcache.solvers.base import calls_of


def integrate(
    solver: Solver,
    schedule: Schedule,
    start: np.ndarray,
    velocity: Callable[[np.ndarray, float], Any],
) -> np.ndarray:
    """Walks a schedule; ``velocity`` is asked with the sample and the sigma."""
    schedule = calls_of(solver, schedule)
    tables = solver.tables(schedule.sigmas)
    sample = np.asarray(start, np.float64)
    state = jax.tree.map(lambda x: np.asarray(x, np.float64), solver.init(sample))
    for i, sigma in enumerate(schedule.sigmas[:-1]):
        row = jax.tree.map(lambda table, i=i: table[i], tables)
        given = np.asarray(velocity(sample, sigma)) * np.ones_like(sample)
        sample, state = solver.step(row, state, sample, given)
    return sample
