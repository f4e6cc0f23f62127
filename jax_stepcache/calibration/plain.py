"""Schedules of fewer steps: what a cache has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.solvers.named_schedules import has_names
from jax_stepcache.solvers.schedule import (
    Schedule,
    explicit_schedule,
    is_schedule,
    num_steps_of,
)


def with_schedule(
    options: Mapping[str, Any], num_steps: int, default: int
) -> dict[str, Any]:
    """Options of `sample` for a number of steps.

    Args:
        options: of `sample`, where ``schedule`` may be a function of the step count.
        num_steps: the steps; 0 for those that the options ask for.
        default: how many these are where the options do not say.

    Returns:
        The options, with a schedule of so many steps where there is one at all.

    Raises:
        ValueError: if the function gives a schedule of another number of steps.
        TypeError: if it gives no schedule.
    """
    given = options.get("schedule")
    if not num_steps and not callable(given):
        return dict(options)
    if given is None:
        return {**options, "num_inference_steps": num_steps}
    if not callable(given):
        fewer = jax.tree.map(
            lambda one: one if isinstance(one, str) else fewer_steps(one, num_steps),
            given,
            is_leaf=is_schedule,
        )
        if has_names(given):
            options = {**options, "num_inference_steps": num_steps}
        return {**options, "schedule": fewer}
    left = {k: x for k, x in options.items() if k != "num_inference_steps"}
    asked = options.get("num_inference_steps")
    count = num_steps or (default if asked is None else asked)
    schedule = given(count)
    made = num_steps_of(schedule)
    if made != count:
        raise ValueError(
            f"schedule({count}) returned one of {made} steps; a function of the step "
            "count returns as many"
        )
    return {**left, "schedule": schedule}


def fewer_steps(schedule: Schedule, num_steps: int) -> Schedule:
    """Spreads fewer steps over a schedule.

    Args:
        schedule: the schedule.
        num_steps: how many steps to take.

    Returns:
        A schedule from the same noise level to the same, whose levels are those of the
        given one at evenly spread places; so are what the network is told.
    """
    index = np.arange(schedule.num_steps + 1)
    places = np.linspace(0, schedule.num_steps, num_steps + 1)
    sigmas = np.interp(places, index, schedule.sigmas)
    usual = explicit_schedule(schedule.sigmas)
    if usual.timesteps == schedule.timesteps:
        return explicit_schedule(sigmas)
    times = np.interp(places[:-1], index[:-1], schedule.timesteps)
    return explicit_schedule(sigmas, times)
