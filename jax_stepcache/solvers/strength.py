"""Begin in the middle of a schedule: a sample that there is, noised and denoised anew.

Image to image and video to video, as in diffusers: of N steps the last ``int(N *
strength)`` are taken.
"""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.check import check_numbers
from jax_stepcache.solvers.schedule import Schedule, is_schedule, per_output


def begun_at(schedule: Any, strength: float) -> Any:
    """The last steps of a schedule, as many as a strength asks for.

    Args:
        schedule: of N steps, or one for each output.
        strength: in (0, 1]; of N steps the last ``int(N * strength)`` are taken, as
            diffusers counts them for Stable Diffusion and Wan.

    Returns:
        Their schedule; all of it for a strength of 1.

    Raises:
        ValueError: for a strength that leaves no step, or a table, whose first call is
            made on noise.
    """
    check_numbers("strength", strength, above=0, most=1)
    return jax.tree.map(lambda one: _cut(one, strength), schedule, is_leaf=is_schedule)


def _cut(schedule: Any, strength: float) -> Schedule:
    if not isinstance(schedule, Schedule):
        raise ValueError(
            f"strength is {strength}, which begins in the middle of a schedule, and "
            "the steps are those of a table, which begin at noise: give "
            "num_inference_steps or a Schedule, and another cache than 'bespoke'"
        )
    steps = min(int(schedule.num_steps * strength), schedule.num_steps)
    if not steps:
        raise ValueError(
            f"strength is {strength}: of {schedule.num_steps} steps none is left; give "
            f"at least {1 / schedule.num_steps:.3g}, or more steps"
        )
    start = schedule.num_steps - steps
    return Schedule(schedule.sigmas[start:], schedule.timesteps[start:])


def noised(clean: Any, noise: Any, schedule: Any) -> Any:
    """What a schedule begins from, on the straight way from a sample to noise.

    Args:
        clean: pytree of arrays.
        noise: like ``clean``.
        schedule: whose first noise level is taken; or one for each output.

    Returns:
        ``(1 - sigma) * clean + sigma * noise``, in the dtypes of ``noise``.
    """
    leaves, structure = jax.tree.flatten(noise)
    firsts = [one.sigmas[0] for one in per_output(schedule, noise)]
    begun = [
        (1 - sigma) * x.astype(z.dtype) + sigma * z
        for sigma, x, z in zip(firsts, jax.tree.leaves(clean), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, begun)
