"""Schedules by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax

from jax_stepcache.check import static_count
from jax_stepcache.errors import unknown_name
from jax_stepcache.solvers.ays import AYS_SIGMAS, ays_schedule
from jax_stepcache.solvers.schedule import Schedule, is_schedule
from jax_stepcache.solvers.spacings import (
    beta_schedule,
    exponential_schedule,
    karras_schedule,
    linear_schedule,
)

SCHEDULES: Mapping[str, Callable[[int], Schedule]] = MappingProxyType(
    {
        "linear": linear_schedule,
        "karras": karras_schedule,
        "exponential": exponential_schedule,
        "beta": beta_schedule,
        **{
            f"ays_{network}": functools.partial(ays_schedule, network=network)
            for network in AYS_SIGMAS
        },
    }
)
"""What makes the schedule of each name, given a number of steps."""

OPTIMISED = "optimised"
"""The name of noise levels that were found for a model, and are kept beside it."""

_ELSEWHERE = MappingProxyType(
    {
        **dict.fromkeys(("alignyoursteps", "ays"), "ays_sdxl"),
        **dict.fromkeys(("usekarrassigmas", "edm"), "karras"),
        **dict.fromkeys(("simple", "normal", "uniform", "even"), "linear"),
        "useexponentialsigmas": "exponential",
        "usebetasigmas": "beta",
    }
)


def get_schedule(name: str, num_steps: int) -> Schedule:
    """Finds a schedule by name.

    Args:
        name: one of ``SCHEDULES``.
        num_steps: number of solver steps.

    Returns:
        The schedule.

    Raises:
        ValueError: for an unknown name, or a step count below 1.
        TypeError: for a step count that is being traced.
    """
    if name == OPTIMISED:
        raise ValueError(
            "optimised noise levels are a model's own, of all its outputs: give "
            "schedule='optimised' to sample, with a model that has some"
        )
    if name not in SCHEDULES:
        known = [*SCHEDULES, OPTIMISED]
        raise ValueError(unknown_name("schedule", name, known, _ELSEWHERE))
    return _made(name, static_count("num_inference_steps", num_steps, 1))


def has_names(given: Any) -> bool:
    """Whether some of a tree of schedules are named, and want a number of steps."""
    found = jax.tree.leaves(given, is_leaf=is_schedule)
    return any(isinstance(one, str) for one in found)


def without_names(given: Any, num_steps: int) -> Any:
    """A tree of schedules, those that are named looked up.

    Args:
        given: schedules, tables or names; one for everything, or a tree of them.
        num_steps: the number of solver steps of those that are named.

    Returns:
        The tree with a schedule in the place of each name.

    Raises:
        ValueError: see `get_schedule`.
    """
    return jax.tree.map(
        lambda one: get_schedule(one, num_steps) if isinstance(one, str) else one,
        given,
        is_leaf=is_schedule,
    )


# Asked for at every call, by few users for more than a few schedules.
@functools.lru_cache(maxsize=256)
def _made(name: str, num_steps: int) -> Schedule:
    return SCHEDULES[name](num_steps)
