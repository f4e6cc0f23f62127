"""StepCache's rule in plain Python, for comparison with the compiled one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """What the rule did at a step, and what it remembered after it."""

    computed: bool
    signal: float
    countdown: int
    history: int


def plain_step_cache(
    num_steps: int,
    signal_at: Callable[[int, list[int]], float],
    thresholds: Sequence[float] = (0.95, 0.93),
    countdowns: Sequence[int] = (4, 2),
    min_history: int = 2,
    max_history: int = 2,
) -> list[Step]:
    """Walks one generation; ``signal_at`` is told the step and those computed so far"""
    countdown, computed, steps = 0, [], []
    for step in range(num_steps):
        run, signal = True, np.nan
        if len(computed) >= min_history:
            if countdown > 0:
                countdown -= 1
                run = countdown == 0
            else:
                signal = signal_at(step, computed)
                for threshold, count in zip(thresholds, countdowns, strict=True):
                    if np.float32(signal) > np.float32(threshold):
                        countdown, run = count, False
                        break
        if run:
            computed.append(step)
        history = min(len(computed), max_history)
        steps.append(Step(run, signal, countdown, history))
    return steps


def plain_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the batch of the cosine of two velocities."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    norms = [np.maximum(np.sqrt((x * x).sum(1)), 1e-8) for x in (a, b)]
    with np.errstate(invalid="ignore"):
        return float(((a * b).sum(1) / (norms[0] * norms[1])).mean())
