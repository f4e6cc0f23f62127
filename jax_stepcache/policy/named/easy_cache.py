"""EasyCache: skip whole forwards while the velocity is expected to change little."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Accumulate, LastStep, WarmUp
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import PredictedChange


@naming_arguments({"thresh": "threshold", "retsteps": "warmup_steps"})
def easy_cache(
    threshold: float | jax.Array = 0.05,
    warmup_steps: int | jax.Array = 5,
    *,
    output: str | None = None,
    forecast: Any = "offset",
) -> Composed:
    """EasyCache (Zhou et al. 2025); see `PredictedChange`. The last step always runs.

    Args:
        threshold: what the changes that are expected since the last computed step must
            stay below; 0 skips nothing.
        warmup_steps: steps that run first.
        output: which output is compared, where the sample is a mapping; None for all.
        forecast: what skipped steps use; see `Offset`.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("thresh", threshold, least=0.0)
    check_count("ret_steps", warmup_steps)
    gate = LastStep(Accumulate(leaf(threshold, np.float32)))
    return compose(
        signal=PredictedChange(output),
        gate=WarmUp(gate, leaf(warmup_steps, np.int32)),
        forecast=forecast,
    )
