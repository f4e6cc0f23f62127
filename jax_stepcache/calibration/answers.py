"""Checks of what a network answers: some answers leave nothing to calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_stepcache.calibration.trajectory import Trajectory
from jax_stepcache.check import fetched
from jax_stepcache.loop.result import SampleResult

_SAME = 1e-6
"""Relative change of a velocity that is rounding."""


def check_finite(result: SampleResult, noise: Any) -> None:
    """Checks that a network answers with finite numbers.

    Args:
        result: of all samples, uncached.
        noise: what they began with, [samples, ...] arrays.

    Raises:
        ValueError: naming the samples that went wrong.
    """
    if not np.any(result.stats.nonfinite):
        return
    for what, arrays in (("noise", noise), ("sample", result.sample)):
        wrong = sorted({i for x in jax.tree.leaves(arrays) for i in _nonfinite_rows(x)})
        if wrong and what == "noise":
            raise ValueError(
                f"samples['noise'] holds NaN or infinity, in samples {wrong}"
            )
    which = f"of samples {wrong} " if wrong else ""
    raise ValueError(
        f"the model answers with NaN or infinity: velocities {which}were not finite, "
        "without any cache, and nothing can be compared with them. Look at the "
        "weights, their dtype, the condition and guidance_scale"
    )


def check_changes(trajectories: Sequence[Trajectory]) -> None:
    """Checks that a network's answer changes on the way.

    Args:
        trajectories: uncached ones.

    Raises:
        ValueError: if the velocity is the same at every step, or zero throughout.
    """
    leaves = [
        np.asarray(fetched(x), np.float32)
        for one in trajectories
        for x in jax.tree.leaves(one.velocities)
    ]
    if all((x == 0).all() for x in leaves):
        raise ValueError(
            "the model answers 0 at every step, as one does that was never trained: "
            "its samples are the noise, with any cache. Load its weights first"
        )
    if all(np.abs(x - x[:1]).max() <= _SAME * np.abs(x).max() for x in leaves):
        raise ValueError(
            "the model's answer never changes: its velocity is the same at every step, "
            "so every cache gives the same sample, one call is enough, and there is "
            "nothing to calibrate. A model that ignores its sample and t answers so"
        )


def _nonfinite_rows(x: Any) -> list[int]:
    rows = np.asarray(fetched(x), np.float32).reshape(len(x), -1)
    return np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
