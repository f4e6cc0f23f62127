"""MagCache: skip all blocks along a calibrated curve of magnitudes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jax_stepcache.check import check_count, check_numbers, fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Always, Magnitude
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import MagnitudeRatio


@naming_arguments(
    {
        "magthreshold": "threshold",
        "magmaxskipsteps": "max_skip_steps",
    }
)
def mag_cache(
    ratios: Sequence[float] | np.ndarray | jax.Array,
    threshold: float | jax.Array = 0.24,
    max_skip_steps: int | jax.Array = 5,
    retention_ratio: float = 0.1,
    *,
    num_steps: int | None = None,
    forecast: Any = "hold",
) -> Composed:
    """MagCache (Ma et al. 2025); the schedule is known beforehand for given ratios.

    Args:
        ratios: of the residual's norm at each step to that of the step before, from
            `calibrate`.
        threshold: what the error may add up to, inclusive.
        max_skip_steps: consecutive steps that may be skipped, at least 1.
        retention_ratio: share of the steps that run first, in [0, 1].
        num_steps: the schedule's step count, of which the share is taken; None for as
            many as there are ratios.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("mag_ratios", ratios, shape=(None,), above=0.0)
    check_numbers("mag_threshold", threshold, least=0.0)
    check_count("mag_max_skip_steps", max_skip_steps, 1)
    check_numbers("mag_retention_ratio", retention_ratio, least=0.0, most=1.0)
    gate = Magnitude(
        leaf(ratios, np.float32),
        leaf(threshold, np.float32),
        leaf(max_skip_steps, np.int32),
        _retained(retention_ratio, len(ratios) if num_steps is None else num_steps),
    )
    return compose(gate=gate, forecast=forecast, span="blocks")


def _retained(ratio: float | jax.Array, num_steps: int) -> ArrayLike:
    if isinstance(ratio, Tracer):
        return jnp.floor(ratio * num_steps + 0.5).astype(jnp.int32)
    # In Python's floats, as the original: in float32 0.29 of 50 steps is one more.
    return np.int32(int(float(fetched(ratio)) * num_steps + 0.5))


def magnitude_calibration() -> Composed:
    """A policy that skips nothing and shows, as its signal, the ratios to calibrate.

    The signal of a step is the ratio of the step before.
    """
    return compose(signal=MagnitudeRatio(), gate=Always(), span="blocks")


def resampled_ratios(
    ratios: Sequence[float] | np.ndarray | jax.Array, num_steps: int
) -> np.ndarray | jax.Array:
    """Fits ratios that were calibrated with another step count, as MagCache does.

    Args:
        ratios: one for each step of the calibration.
        num_steps: steps that are wanted.

    Returns:
        float32[num_steps], each the ratio of the nearest step.
    """
    given = leaf(ratios, np.float32)
    return given[nearest_steps(len(given), num_steps)]


def nearest_steps(given: int, wanted: int) -> np.ndarray:
    """Of so many steps, those nearest to as many as are wanted; of one, the last."""
    if wanted == 1:
        return np.array([given - 1])
    return np.linspace(0, given - 1, wanted).round().astype(int)
