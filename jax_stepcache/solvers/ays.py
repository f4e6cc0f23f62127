"""Align Your Steps: noise levels that were optimised for known networks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from jax_stepcache.check import static_count
from jax_stepcache.errors import naming_arguments, unknown_name
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

AYS_SIGMAS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "sd": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152),
        "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113),
        "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034),
    }
)
"""The published levels of ten steps, as noise over signal; after them comes 0."""


@naming_arguments()
def ays_schedule(num_steps: int = 10, network: str = "sdxl") -> Schedule:
    """The noise levels that Align Your Steps found for a network.

    Sabour et al. 2024, "Align Your Steps: Optimizing Sampling Schedules in Diffusion
    Models"; the numbers are those of diffusers' `AysSchedules`. They were found for
    networks that scale their noise up; a flow has the same ratio of noise to signal at
    ``sigma / (1 + sigma)``.

    Args:
        num_steps: number of solver steps; other than 10, the logarithms of the levels
            are interpolated, as the paper does.
        network: ``"sd"`` (Stable Diffusion 1.5), ``"sdxl"`` or ``"svd"`` (Stable Video
            Diffusion).

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: for a step count below 1, or another network.
        TypeError: for a step count that is being traced.
    """
    count = static_count("num_inference_steps", num_steps, 1)
    if network not in AYS_SIGMAS:
        raise ValueError(unknown_name("network", network, AYS_SIGMAS))
    logs = np.log(AYS_SIGMAS[network])
    at = np.linspace(0, len(logs) - 1, count)
    ratio = np.exp(np.interp(at, np.arange(len(logs)), logs))
    levels = ratio / (1 + ratio)
    return explicit_schedule(np.append(levels, 0.0), levels * 1000)
