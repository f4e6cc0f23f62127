"""MagCache as its authors' code has it, for Wan and for FLUX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.check import check_count, check_numbers, fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import BranchMask, Mask
from jax_stepcache.policy.named.mag_cache import nearest_steps
from jax_stepcache.policy.policy import Composed

_BRANCHES = 2


@naming_arguments({"magcachethresh": "threshold", "k": "max_skip_steps"})
def original_mag_cache(
    ratios: Sequence[float] | np.ndarray,
    threshold: float = 0.12,
    max_skip_steps: int = 4,
    retention_ratio: float = 0.2,
    *,
    num_steps: int,
    split_step: int | None = None,
    spares_high: bool = False,
    forecast: Any = "hold",
) -> Composed:
    """MagCache4Wan2.1 and 2.2, whose schedule is known beforehand.

    Forwards are counted, two a step. What has added up when a retained step comes stays
    as it is, and goes on after it.

    Args:
        ratios: of the residual's norm at each step to that of the step before, of the
            conditional and the unconditional branch in turn; or [2, steps]. Those of
            another number of steps are resampled.
        threshold: what the error must stay below.
        max_skip_steps: consecutive steps that may be skipped.
        retention_ratio: share of the forwards that run first; of two experts, of each.
        num_steps: the schedule's step count.
        split_step: of two experts, steps of the high-noise one; None for one network.
        spares_high: whether all of those run, as with an image.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    given = np.asarray(fetched(ratios), np.float64)
    if given.ndim == 1 and len(given) % _BRANCHES == 0:
        given = given.reshape(-1, _BRANCHES).T
    check_numbers("mag_ratios", given, shape=(_BRANCHES, None), above=0.0)
    check_numbers("mag_threshold", threshold, least=0.0)
    check_count("mag_max_skip_steps", max_skip_steps)
    check_numbers("mag_retention_ratio", retention_ratio, least=0.0, most=1.0)
    if split_step is not None:
        check_count("mag_split_step", split_step)
    forwards = _BRANCHES * num_steps
    active = _active(forwards, retention_ratio, split_step, spares_high)
    mask = np.ones((_BRANCHES, num_steps), bool)
    for branch in range(_BRANCHES):
        curve = given[branch][nearest_steps(given.shape[1], num_steps, np.float64)]
        own = active[branch::_BRANCHES]
        mask[branch] = _runs(curve, own, threshold, max_skip_steps)
    # The first has nothing to reuse, whatever is retained.
    mask[:, :1] = True
    return compose(gate=BranchMask(mask), forecast=forecast, span="blocks")


def _active(
    forwards: int, retention: float, split_step: int | None, spares_high: bool
) -> np.ndarray:
    """At which forwards anything is added up."""
    count = np.arange(forwards)
    if split_step is None:
        return count >= int(forwards * retention)
    split = _BRANCHES * split_step
    if spares_high:
        return count >= int(split + (forwards - split) * retention)
    begun = count >= int(split * retention)
    second = (forwards - split) * retention + split
    return begun & ~((count >= split) & (count <= second))


def _runs(
    ratios: np.ndarray, active: np.ndarray, threshold: float, most: int
) -> np.ndarray:
    """Which steps of a branch run."""
    ran = np.ones(len(ratios), bool)
    ratio, error, skipped = 1.0, 0.0, 0
    for step in np.flatnonzero(active):
        ratio *= float(ratios[step])
        skipped += 1
        error += abs(1 - ratio)
        if error < threshold and skipped <= most:
            ran[step] = False
        else:
            ratio, error, skipped = 1.0, 0.0, 0
    return ran


def original_mag_cache_of_pictures(
    ratios: Sequence[float] | np.ndarray,
    threshold: float = 0.24,
    max_skip_steps: int = 5,
    retention_ratio: float = 0.1,
    *,
    num_steps: int,
    forced: int | None = None,
    forecast: Any = "hold",
) -> Composed:
    """MagCache4FLUX, of one curve, whose schedule is known beforehand.

    Args:
        ratios: of the residual's norm at each step to that of the step before. Those of
            another number of steps are resampled.
        threshold: what the error may add up to, inclusive.
        max_skip_steps: consecutive steps that may be skipped.
        retention_ratio: share of the steps that run first.
        num_steps: the schedule's step count.
        forced: of the steps of the calibration, one that runs whatever the error is.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    curve = np.asarray(fetched(ratios), np.float64)
    check_numbers("mag_ratios", curve, shape=(None,), above=0.0)
    check_numbers("mag_threshold", threshold, least=0.0)
    check_count("mag_max_skip_steps", max_skip_steps)
    check_numbers("mag_retention_ratio", retention_ratio, least=0.0, most=1.0)
    walked = walked_curve(
        curve, threshold, max_skip_steps, retention_ratio, num_steps, forced
    )
    return compose(gate=Mask(walked.runs), forecast=forecast, span="blocks")


class WalkedCurve(NamedTuple):
    """What MagCache4FLUX makes of a curve.

    Attributes:
        runs: bool[num_steps], the steps that run.
        ratio: float64[num_steps], the product of ratios after each step; 1 where it
            ran.
        error: float64[num_steps], what has added up after each step; 0 where it ran.
    """

    runs: np.ndarray
    ratio: np.ndarray
    error: np.ndarray


def walked_curve(
    curve: np.ndarray,
    threshold: float,
    max_skip_steps: int,
    retention_ratio: float,
    num_steps: int,
    forced: int | None,
) -> WalkedCurve:
    """Goes along a curve, see `original_mag_cache_of_pictures`."""
    last, runs = len(curve) - 1, np.ones(num_steps, bool)
    ratios, errors = np.ones(num_steps), np.zeros(num_steps)
    curve = curve[nearest_steps(len(curve), num_steps, np.float64)]
    ratio, error, skipped = 1.0, 0.0, 0
    for step in range(max(int(retention_ratio * num_steps + 0.5), 1), num_steps):
        ratio *= float(curve[step])
        error += abs(1 - ratio)
        skipped += 1
        fits = error <= threshold and skipped <= max_skip_steps
        if fits and round(step * last / (num_steps - 1)) != forced:
            runs[step], ratios[step], errors[step] = False, ratio, error
        else:
            ratio, error, skipped = 1.0, 0.0, 0
    return WalkedCurve(runs, ratios, errors)
