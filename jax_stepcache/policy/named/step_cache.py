"""StepCache: skip whole forwards while the velocity keeps its direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_count, fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.forecasts import get_forecast
from jax_stepcache.policy.gates import Tiers
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Cosine


@naming_arguments(
    {
        "velocitysimthresholds": "sim_thresholds",
        "velocityskipcountdowns": "skip_countdowns",
    }
)
def step_cache(
    sim_thresholds: Sequence[float] | jax.Array = (0.95, 0.93),
    skip_countdowns: Sequence[int] | jax.Array = (4, 2),
    min_history_steps: int = 2,
    max_history: int = 2,
    *,
    output: str | None = None,
    forecast: Any = "hold",
) -> Composed:
    """vLLM-Omni's StepCache, made for DreamZero.

    Over 16 steps whose cosines always exceed 0.95 it runs steps 0, 1, 6 and 11.

    Args:
        sim_thresholds: cosine of each tier, falling, in [-1, 1].
        skip_countdowns: countdown of each tier, at least 1: that many steps from here
            on are settled, the last of them a forced run.
        min_history_steps: computed velocities before the first reuse, at least 2.
        max_history: velocities that the original keeps, at least ``min_history_steps``.
        output: the output whose velocity is compared; None for the lowest cosine over
            all outputs.
        forecast: what a skipped step uses; ``"hold"``, the last velocity, is the
            original's.

    Returns:
        The policy.

    Raises:
        ValueError: for settings with which the original never reuses, reuses forever,
            or fails. Arrays that are being traced are taken as they are.
    """
    check_tiers(sim_thresholds, skip_countdowns, min_history_steps, max_history)
    gate = Tiers(
        leaf(sim_thresholds, np.float32),
        leaf(skip_countdowns, np.int32),
        min_history_steps,
        max_history,
    )
    return Composed(Cosine(output), gate, get_forecast(forecast))


def check_tiers(
    sim_thresholds: Any, skip_countdowns: Any, min_history: int, max_history: int
) -> None:
    """Checks StepCache's settings; of traced numbers, only how many there are.

    Raises:
        ValueError: naming the setting, what was given and what is allowed.
    """
    for name, count in (("min", min_history), ("max", max_history)):
        check_count(f"step_cache_dit_{name}_history", count)
    if min_history < 2:
        raise ValueError(
            f"step_cache_dit_min_history is {min_history}; a cosine needs at least 2 "
            "velocities"
        )
    if min_history > max_history:
        raise ValueError(
            f"step_cache_dit_min_history is {min_history} and "
            f"step_cache_dit_max_history {max_history}; with fewer velocities kept "
            "than needed, nothing is ever reused"
        )
    tiers, counts = (_shape(x) for x in (sim_thresholds, skip_countdowns))
    if len(tiers) != 1 or tiers == (0,):
        raise ValueError(
            f"velocity_sim_thresholds is {sim_thresholds!r}; it must list one cosine "
            "for each tier"
        )
    if tiers != counts:
        raise ValueError(
            f"velocity_sim_thresholds has {tiers[0]} tiers and "
            f"velocity_skip_countdowns {counts[0] if len(counts) == 1 else counts}; "
            "they need the same number"
        )
    if not _traced(sim_thresholds):
        thresholds = np.asarray(fetched(sim_thresholds))
        if not np.issubdtype(thresholds.dtype, np.number):
            raise ValueError(
                f"velocity_sim_thresholds is {sim_thresholds!r}; it must be numeric"
            )
        if not ((thresholds >= -1) & (thresholds <= 1)).all():
            raise ValueError(
                f"velocity_sim_thresholds is {thresholds.tolist()}; cosines lie in "
                "[-1, 1]"
            )
        if not (np.diff(thresholds) < 0).all():
            raise ValueError(
                f"velocity_sim_thresholds is {thresholds.tolist()}; tiers must fall, "
                "highest first, or the first one hides the others"
            )
    if not _traced(skip_countdowns):
        countdowns = np.asarray(fetched(skip_countdowns))
        whole = np.issubdtype(countdowns.dtype, np.integer)
        if not whole or not (countdowns >= 1).all():
            raise ValueError(
                f"velocity_skip_countdowns is {countdowns.tolist()}; each must be a "
                "whole number of at least 1 (0 would reuse one velocity forever)"
            )
        if not (countdowns < 2**31).all():  # int32 in the compiled program
            raise ValueError(
                f"velocity_skip_countdowns is {countdowns.tolist()}; each must be "
                "below 2**31"
            )


def _traced(numbers: Any) -> bool:
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(numbers))


def _shape(numbers: Any) -> tuple[int, ...]:
    # A list of traced numbers has no shape that NumPy could read.
    return (len(numbers),) if isinstance(numbers, list | tuple) else np.shape(numbers)
