"""SenCache: skip all blocks while the network's derivatives say that little changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import EarlyLate, MaxConsecutive
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Sensitivity

TABLE = ("timesteps", "J_x_norm", "J_t_norm")
"""The arrays of a table of sensitivities, as in the authors' files."""

_EARLY = 0.2


@naming_arguments({"sencachethreshmain": "threshold", "sencachek": "max_skips"})
def sen_cache(
    num_steps: int,
    sensitivities: Mapping[str, Any],
    threshold: float | jax.Array = 0.07,
    early_threshold: float | jax.Array = 0.005,
    max_skips: int | jax.Array = 10,
    *,
    output: str | None = None,
    forecast: Any = "hold",
) -> Composed:
    """SenCache (Haghighi and Alahi 2026); see `Sensitivity`.

    Args:
        num_steps: the schedule's step count.
        sensitivities: ``timesteps``, ``J_x_norm`` and ``J_t_norm``, rows of one length,
            as `calibrate` makes them; the last as a root mean square.
        threshold: what the signal must stay below.
        early_threshold: the same at the first fifth of the steps.
        max_skips: consecutive steps that may be skipped, at least 1.
        output: which output is looked at, where the sample is a mapping; None for all.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("sencache_thresh_main", threshold, least=0.0)
    check_numbers("sencache_thresh_start", early_threshold, least=0.0)
    check_count("sencache_K", max_skips, 1)
    timesteps, by_sample, by_time = _checked(sensitivities)
    gate = EarlyLate(
        leaf(early_threshold, np.float32),
        leaf(threshold, np.float32),
        np.int32(round(num_steps * _EARLY)),
    )
    return compose(
        signal=Sensitivity(timesteps, by_sample, by_time, output),
        gate=MaxConsecutive(gate, leaf(max_skips, np.int32)),
        forecast=forecast,
        span="blocks",
    )


def _checked(given: Any) -> list[Any]:
    if not isinstance(given, Mapping) or set(given) != set(TABLE):
        shown = sorted(given) if isinstance(given, Mapping) else type(given).__name__
        raise ValueError(
            f"sencache_sensitivities is {shown}; it must map {', '.join(TABLE)} to "
            "rows of one length, as calibrate(cache='sen_cache') makes them"
        )
    for name in TABLE:
        check_numbers(
            f"sencache_sensitivities[{name!r}]", given[name], shape=(None,), least=0.0
        )
    lengths = {name: len(given[name]) for name in TABLE}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"sencache_sensitivities has rows of {lengths}; they need one length"
        )
    return [leaf(given[name], np.float32) for name in TABLE]
