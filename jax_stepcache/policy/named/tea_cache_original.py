"""TeaCache as its authors' code has it for Wan: it looks at the timestep alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_flag, check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Accumulate, Gate, LastStep, WarmUp
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import EmbeddedTime

# Steps that run first: of the one variant, and of that with ``use_ret_steps``.
_FIRST, _RETAINED = 1, 5


@naming_arguments({"rell1thresh": "threshold", "teacachethresh": "threshold"})
def original_tea_cache(
    threshold: float | jax.Array,
    coefficients: Sequence[float] | jax.Array,
    *,
    use_ret_steps: bool = False,
    forecast: Any = "hold",
) -> Composed:
    """TeaCache4Wan2.1; see `EmbeddedTime`.

    The polynomial of the change is added as it is, which may be negative.

    Args:
        threshold: what the rescaled changes since the last computed step must stay
            below.
        coefficients: of the polynomial, highest power first.
        use_ret_steps: whether it looks at the projected embedding and runs the first
            five steps, rather than at the embedding, running the first and the last.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("teacache_thresh", threshold)
    check_numbers("coefficients", coefficients, shape=(None,))
    check_flag("use_ret_steps", use_ret_steps)
    numbers = leaf(threshold, np.float32), leaf(coefficients, np.float32)
    gate: Gate = Accumulate(*numbers, signed=True)
    gate = gate if use_ret_steps else LastStep(gate)
    gate = WarmUp(gate, np.int32(_RETAINED if use_ret_steps else _FIRST))
    signal = EmbeddedTime(projected=bool(use_ret_steps))
    return compose(signal=signal, gate=gate, forecast=forecast, span="blocks")
