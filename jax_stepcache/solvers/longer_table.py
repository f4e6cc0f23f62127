"""A table of one call more that samples the same: where a fit of more calls begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .table import SolverTable


def one_call_more(tables: Sequence[SolverTable]) -> tuple[SolverTable, ...]:
    """Adds a call that nothing is made of, in the middle of the widest gap.

    Args:
        tables: of each output, of as many calls each.

    Returns:
        Tables of a call more and the same sample: the new call sees what lies halfway
        between two samples of the old ones, and its velocity weighs nothing.
    """
    levels = np.array([np.asarray(table.sigmas, np.float64) for table in tables])
    gaps = -np.diff(levels).mean(axis=0)
    behind = int(np.argmax(gaps))
    return tuple(_longer(table, behind) for table in tables)


def _longer(table: SolverTable, i: int) -> SolverTable:
    """With a call behind call i."""
    sigmas, times = (np.asarray(x, np.float64) for x in (table.sigmas, table.timesteps))
    level = (sigmas[i] + sigmas[i + 1]) / 2
    # Where sampling ends the network is told nothing to lie between.
    time = times[i] * level / sigmas[i]
    if i + 1 < len(times):
        time = (times[i] + times[i + 1]) / 2

    def of_noise(noise: Any) -> np.ndarray:
        noise = np.asarray(noise, np.float64)
        seen = noise[i - 1] if i else 1.0
        return np.insert(noise, i, (seen + noise[i]) / 2)

    def of_velocities(velocities: Any) -> np.ndarray:
        velocities = np.asarray(velocities, np.float64)
        seen = velocities[i - 1] if i else np.zeros(len(velocities))
        rows = np.insert(velocities, i, (seen + velocities[i]) / 2, axis=0)
        return np.insert(rows, i + 1, 0.0, axis=1)

    return SolverTable(
        np.insert(sigmas, i + 1, level),
        np.insert(times, i + 1, time),
        jax.tree.map(of_noise, table.noise),
        jax.tree.map(of_velocities, table.velocities),
    )
