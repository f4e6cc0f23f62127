"""FirstBlockCache: skip the other blocks while the first one does the same."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import Below
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import FirstBlocks
from jax_stepcache.policy.span import Span


@naming_arguments()
def first_block_cache(
    threshold: float | jax.Array = 0.05, *, forecast: Any = "hold"
) -> Composed:
    """FirstBlockCache, as in diffusers; no warm-up, no cap.

    Args:
        threshold: relative change of the first block's residual up to which the others
            are skipped, at least 0. A block that adds nothing, as it did before, has
            not changed.
        forecast: what skipped steps use of their residual.

    Returns:
        The policy. NaN computes, where diffusers' reuses.

    Raises:
        ValueError: for a threshold that is no number, or a negative one.
    """
    check_numbers("threshold", threshold, least=0.0)
    gate = Below(leaf(threshold, np.float32), inclusive=True)
    signal = FirstBlocks(still=True)
    return compose(signal=signal, gate=gate, forecast=forecast, span=Span(first=1))
