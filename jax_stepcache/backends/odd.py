"""What is odd about a cache that is asked for, though it can be sampled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.core import Tracer

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.selector import backend_name
from jax_stepcache.check import fetched
from jax_stepcache.errors import brief, warn
from jax_stepcache.network.interval import check_interval
from jax_stepcache.policy.asked import Asked


def warn_of_no_reuse(cache: Any, num_steps: int, asked: Asked) -> None:
    """Warns of a cache that can skip no step, unless that is what it is for.

    Args:
        cache: as it was given to `sample`.
        num_steps: steps of the generation.
        asked: what is asked of the policy.
    """
    if asked.never is None or asked.meant:
        return
    given = backend_name(cache) if isinstance(cache, CacheBackend) else cache
    name = repr(given) if isinstance(given, str) else type(cache).__name__
    warn(
        f"cache={name} will skip no step of {num_steps}: {asked.never}. "
        "cache=None says so without a warning"
    )


def warn_of_others(found: Mapping[str, Any] | None, options: Any, model: Any) -> None:
    """Warns of settings that were found with other guidance, or another shift.

    Args:
        found: what they were found with, beside the model's defaults; None where nobody
            knows.
        options: an object with the options of `sample`. What is traced is not looked
            at.
        model: the model.
    """
    if found is None:
        return
    for name in ("guidance_scale", "guidance_interval", "shift"):
        usual = getattr(model.defaults, name, None)
        given, held = getattr(options, name), found.get(name, usual)
        asked = usual if given is None else given
        if not isinstance(asked, Tracer) and _differ(name, asked, held):
            which = "without one" if held is None else f"with {held}"
            warn(
                f"{name} is {brief(asked)}, and what the model has for this budget was "
                f"found {which}: it may be no better than as many plain steps. "
                f"calibrate(..., {name}={brief(asked)}) finds one for it, and "
                "family_of makes one of several"
            )


def _differ(name: str, asked: Any, held: Any) -> bool:
    if name == "guidance_interval":
        return check_interval(asked) != check_interval(held)
    # Of tables for several values the one that is asked for is taken.
    return held is not None and bool(
        np.any(~np.isclose(np.asarray(fetched(asked), np.float64), held))
    )
