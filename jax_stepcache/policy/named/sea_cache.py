"""SeaCache: skip all blocks while the filtered sample has changed little."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_count, check_numbers, fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import Newton
from jax_stepcache.policy.gates import (
    Accumulate,
    Gate,
    LastStep,
    MaxConsecutive,
    WarmUp,
)
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Spectrum


@naming_arguments({"seathreshold": "threshold"})
def sea_cache(
    threshold: float | jax.Array = 0.25,
    max_consecutive_cached: int | jax.Array = 2,
    power_exp: float = 3.0,
    *,
    retention_steps: int = 1,
    cache_end_steps: int = 1,
    axes: tuple[int, ...] | None = None,
    output: str | None = None,
    forecast: Any = None,
) -> Composed:
    """SeaCache, as in vLLM-Omni and diffusers; see `Spectrum`.

    Args:
        threshold: what the changes since the last computed step must stay below; 0
            skips nothing.
        max_consecutive_cached: consecutive steps that may be skipped; 0 for any number.
        power_exp: how fast an image's power falls with frequency.
        retention_steps: steps that run first; one always does.
        cache_end_steps: steps that run last.
        axes: the sample's axes over space and time; None for all but the first and the
            last.
        output: which output is looked at, where the sample is a mapping.
        forecast: what skipped steps use of the residual; None for `Newton`, order 1.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("sea_threshold", threshold, least=0.0)
    check_numbers("sea_power_exp", power_exp, above=0.0)
    check_count("sea_max_consecutive_cached", max_consecutive_cached)
    gate = Accumulate(leaf(threshold, np.float32))
    cap = fetched(leaf(max_consecutive_cached, np.int32))
    xp = jnp if isinstance(cap, jax.Array) else np
    cap = xp.where(cap == 0, -1, cap).astype(np.int32)
    check_count("sea_retention_steps", retention_steps)
    check_count("sea_cache_end_steps", cache_end_steps)
    capped: Gate = MaxConsecutive(gate, cap)
    if cache_end_steps:
        capped = LastStep(capped, cache_end_steps)
    if retention_steps > 1:
        capped = WarmUp(capped, leaf(retention_steps, np.int32))
    return compose(
        signal=Spectrum(leaf(power_exp, np.float32), axes, output),
        gate=capped,
        forecast=Newton() if forecast is None else forecast,
        span="blocks",
    )
