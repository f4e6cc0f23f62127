"""Noise levels that were found for a model, by the name of ``"optimised"``."""

from __future__ import annotations

from typing import Any

from jax_stepcache.check import static_count
from jax_stepcache.solvers.named import name_of
from jax_stepcache.solvers.named_schedules import OPTIMISED


def with_own_levels(given: Any, model: Any, num_steps: Any, solver: Any) -> Any:
    """A schedule that is asked for, a model's own noise levels in place of their name.

    Args:
        given: a name, or anything else, which stays.
        model: the model; see `Spaced`.
        num_steps: how many steps are asked for.
        solver: what will step by them.

    Returns:
        What was given; or a schedule, or one for each output.

    Raises:
        ValueError: if the model has none of so many steps, or those that it has were
            found for another solver.
        TypeError: for a step count that is being traced.
    """
    if not isinstance(given, str) or given != OPTIMISED:
        return given
    count = static_count("num_inference_steps", num_steps, 1)
    find = getattr(model, "optimised", None)
    if find is None:
        raise ValueError(
            f"{model.name} has no optimised noise levels; calibrate(cache='none') "
            "finds some, and schedule= takes them"
        )
    found = find(count)
    if name_of(solver) != found.solver:
        raise ValueError(
            f"the optimised noise levels of {model.name} were found for the solver "
            f"{found.solver!r}, and solver is {solver!r:.80}; calibrate(cache='none', "
            "solver=...) finds others"
        )
    return found.schedule
