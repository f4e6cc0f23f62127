"""Fixed schedules: which steps run is known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_count, fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.forecasts import get_forecast
from jax_stepcache.policy.gates import Mask
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Nothing

# The original DreamZero's NUM_DIT_STEPS: of 16 steps, those that run. 8 is its default.
DREAMZERO_SCHEDULES = MappingProxyType(
    {
        5: (0, 1, 2, 7, 12),
        6: (0, 1, 5, 10, 14, 15),
        7: (0, 1, 2, 6, 10, 14, 15),
        8: (0, 1, 2, 6, 10, 13, 14, 15),
    }
)


@naming_arguments({"stepsmask": "mask"})
def static_schedule(
    mask: Sequence[bool] | np.ndarray | jax.Array, forecast: Any = "hold"
) -> Composed:
    """A policy that runs the steps of a mask.

    Args:
        mask: bool[num_steps], true where the network runs; true at step 0.
        forecast: what the other steps use; see `get_forecast`.

    Returns:
        The policy.

    Raises:
        ValueError: if the mask is not one row of booleans or skips step 0.
    """
    if not isinstance(mask, Tracer):
        check_mask(mask)
    return Composed(Nothing(), Mask(leaf(mask, bool)), get_forecast(forecast))


def mask_of_steps(steps: Sequence[int], num_steps: int) -> np.ndarray:
    """Makes a mask from the steps that run.

    Args:
        steps: indices of the steps that run.
        num_steps: length of the mask.

    Returns:
        bool[num_steps].

    Raises:
        ValueError: if a step is outside the range, or no whole number.
    """
    check_count("num_steps", num_steps, 1)
    if any(not isinstance(step, int | np.integer) for step in fetched(list(steps))):
        raise ValueError(f"steps is {steps!r:.80}; give indices, whole numbers")
    outside = [step for step in steps if not 0 <= step < num_steps]
    if outside:
        raise ValueError(f"steps {outside} are outside 0..{num_steps - 1}")
    mask = np.zeros(num_steps, bool)
    mask[list(steps)] = True
    return mask


def check_mask(mask: Any) -> None:
    """Checks a mask over steps.

    Raises:
        ValueError: if it is not one row of booleans, or skips step 0.
    """
    array = np.asarray(fetched(mask))
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"the mask is {mask!r}; it must be one row of booleans, one for each step"
        )
    if array.size == 0 or not array[0]:
        raise ValueError(
            "the mask skips step 0, where there is nothing to reuse yet; its first "
            "entry must be true"
        )
