"""Beginning in the middle of a schedule: what is there is noised, and denoised anew."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.check import check_numbers
from jax_stepcache.solvers.schedule import Schedule


def begun_at(schedule: Schedule, strength: float) -> Schedule:
    """The last steps of a schedule, as many as a strength asks for.

    Args:
        schedule: of N steps.
        strength: in (0, 1]; of N steps the last ``int(N * strength)`` are taken, as
            diffusers counts them.

    Returns:
        Their schedule; all of it for a strength of 1.

    Raises:
        ValueError: for a strength that leaves no step.
    """
    check_numbers("strength", strength, above=0, most=1)
    steps = min(int(schedule.num_steps * strength), schedule.num_steps)
    if not steps:
        raise ValueError(
            f"strength is {strength}: of {schedule.num_steps} steps none is left; give "
            f"at least {1 / schedule.num_steps:.3g}, or more steps"
        )
    start = schedule.num_steps - steps
    return Schedule(schedule.sigmas[start:], schedule.timesteps[start:])


def noised(clean: Any, noise: Any, schedule: Schedule) -> Any:
    """What a schedule begins from, on the straight way from a sample to noise.

    Args:
        clean: pytree of arrays.
        noise: like ``clean``.
        schedule: its first noise level is taken.

    Returns:
        ``(1 - sigma) * clean + sigma * noise``.
    """
    sigma = schedule.sigmas[0]
    return jax.tree.map(lambda x, z: (1 - sigma) * x + sigma * z, clean, noise)
