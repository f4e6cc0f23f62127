"""TeaCache: skip all blocks while their modulated input has changed little."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Accumulate
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import ModulatedInput

# Fitted by the paper's authors: change of the input to change of the output.
TEACACHE_COEFFICIENTS = MappingProxyType(
    {
        "flux": (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861),
        "hunyuan_video": (733.226126, -401.131952, 67.5869174, -3.149878, 0.0961237896),
        "wan2.1-1.3b": (2396.76752, -1311.10545, 201.331979, -8.29855975, 0.137887774),
        "wan2.1-14b": (
            -5784.54975374,
            5449.50911966,
            -1811.16591783,
            256.27178429,
            -13.02252404,
        ),
        "qwen-image": (-450.0, 280.0, -45.0, 3.2, -0.02),
    }
)

IDENTITY = (0.0, 0.0, 0.0, 1.0, 0.0)


@naming_arguments({"rell1thresh": "threshold"})
def tea_cache(
    threshold: float | jax.Array = 0.2,
    coefficients: Sequence[float] | jax.Array = IDENTITY,
    *,
    forecast: Any = "hold",
) -> Composed:
    """TeaCache (Liu et al. 2024), as in vLLM-Omni; see `ModulatedInput`.

    Args:
        threshold: what the rescaled changes since the last computed step must stay
            below; positive.
        coefficients: of the polynomial that rescales them, five numbers, highest power
            first; see `TEACACHE_COEFFICIENTS` and `calibrate`.
        forecast: what skipped steps use of the residual.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_numbers("rel_l1_thresh", threshold, above=0.0)
    check_numbers("coefficients", coefficients, shape=(5,))
    gate = Accumulate(leaf(threshold, np.float32), leaf(coefficients, np.float32))
    return compose(signal=ModulatedInput(), gate=gate, forecast=forecast, span="blocks")
