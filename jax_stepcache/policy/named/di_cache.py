"""DiCache: skip the blocks behind a probe while the probe changes little."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_arguments, unknown_name
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Accumulate, LastStep, WarmUp
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Probe
from jax_stepcache.policy.span import Span

_ERRORS = ("delta_y", "delta_minus")


@naming_arguments({"rell1thresh": "threshold", "probedepth": "probe_blocks"})
def di_cache(
    num_steps: int,
    threshold: float | jax.Array | None = None,
    probe_blocks: int = 1,
    retention_ratio: float = 0.2,
    *,
    error_choice: str = "delta_y",
    forecast: Any = "aligned",
) -> Composed:
    """DiCache (Bu et al. 2025), as its script for FLUX; the last step always runs.

    Args:
        num_steps: the schedule's step count.
        threshold: what the probe's changes since the last computed step must stay
            below; 0 skips nothing. None for the authors' 0.4, of ``"delta_minus"``
            0.08.
        probe_blocks: blocks that run at every step, at least 1.
        retention_ratio: share of the steps that run first, in [0, 1], and one more.
        error_choice: ``"delta_y"`` for the probe's change, ``"delta_minus"`` for its
            distance from that of what goes into the probe; see `Probe`.
        forecast: what skipped steps use; see `Aligned`.

    Returns:
        The policy.

    Raises:
        ValueError: for settings that do not fit.
    """
    if error_choice not in _ERRORS:
        raise ValueError(unknown_name("error_choice", error_choice, _ERRORS))
    less_input = error_choice == "delta_minus"
    if threshold is None:
        threshold = 0.08 if less_input else 0.4
    check_numbers("rel_l1_thresh", threshold, least=0.0)
    check_count("probe_depth", probe_blocks, 1)
    check_numbers("ret_ratio", retention_ratio, least=0.0, most=1.0)
    first = int(float(retention_ratio) * num_steps) + 1
    gate = LastStep(Accumulate(leaf(threshold, np.float32)))
    return compose(
        signal=Probe(less_input),
        gate=WarmUp(gate, leaf(first, np.int32)),
        forecast=forecast,
        span=Span(first=probe_blocks),
    )
