"""Why a cache that was asked for has skipped nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from jax_stepcache.check import fetched
from jax_stepcache.policy.asked import Asked


def why_unused(
    computed: Any, signal: Any, threshold: Any, asked: Asked | None
) -> str | None:
    """Says why no step of a run was skipped.

    Args:
        computed: bool[num_steps], where it was computed.
        signal: float32[num_steps], or a scalar, what was compared; NaN where nothing.
        threshold: likewise, with what.
        asked: what was asked of the cache; None where that is not known.

    Returns:
        The reason; None where some step was skipped, or no cache was asked for.
    """
    if asked is None or not asked.cache or not np.asarray(fetched(computed)).all():
        return None
    if asked.never is not None:
        return asked.never
    seen, limit = (
        np.broadcast_to(np.asarray(fetched(x), np.float32), np.shape(computed))
        for x in (signal, threshold)
    )
    compared = np.flatnonzero(~np.isnan(limit))
    if not len(compared):
        return "at no step was anything compared with a threshold"
    told = compared[np.isfinite(seen[compared])]
    if not len(told):
        return (
            "the signal was not finite wherever it was compared (of what the first "
            "blocks add, 0/0 where they add nothing)"
        )
    # Each comparison made the step run, so all lie on the side where that is so.
    over = seen[told] - limit[told]
    nearest = told[np.abs(over).argmin()]
    which, side = ("largest", "above") if (over <= 0).all() else ("smallest", "below")
    return (
        f"the {which} signal, {seen[nearest]:.3g} at step {nearest}, is not {side} the "
        f"threshold of {limit[nearest]:.3g}"
    )
