"""TeaCache as its authors' code has it for Wan and FLUX."""

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
from jax_stepcache.policy.signals import EmbeddedTime, ModulatedInput

# Steps that run first: of the one variant, and of that with ``use_ret_steps``.
_FIRST, _RETAINED = 1, 5


@naming_arguments({"rell1thresh": "threshold", "teacachethresh": "threshold"})
def original_tea_cache(
    threshold: float | jax.Array,
    coefficients: Sequence[float] | jax.Array,
    *,
    use_ret_steps: bool = False,
    modulated: bool = False,
    forecast: Any = "hold",
) -> Composed:
    """TeaCache4Wan2.1, which looks at the embedded timestep; and TeaCache4FLUX.

    The polynomial of the change is added as it is, which may be negative.

    Args:
        threshold: what the rescaled changes since the last computed step must stay
            below.
        coefficients: of the polynomial, highest power first.
        use_ret_steps: whether it looks at the projected embedding and runs the first
            five steps, rather than at the embedding, running the first and the last.
        modulated: whether it looks at the modulated input of block 0, as for FLUX; the
            first and the last step run.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit, or both of the variants.
    """
    if use_ret_steps and modulated:
        raise ValueError(
            "use_ret_steps is of the original TeaCache for Wan, and this model's looks "
            "at the modulated input"
        )
    check_numbers("rel_l1_thresh", threshold)
    check_numbers("coefficients", coefficients, shape=(None,))
    check_flag("use_ret_steps", use_ret_steps)
    numbers = leaf(threshold, np.float32), leaf(coefficients, np.float32)
    gate: Gate = Accumulate(*numbers, signed=True)
    gate = gate if use_ret_steps else LastStep(gate)
    gate = WarmUp(gate, np.int32(_RETAINED if use_ret_steps else _FIRST))
    signal = ModulatedInput() if modulated else EmbeddedTime(bool(use_ret_steps))
    return compose(signal=signal, gate=gate, forecast=forecast, span="blocks")
