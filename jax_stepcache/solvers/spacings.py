"""Noise levels between a largest and a smallest one, by one rule or another."""

from __future__ import annotations

import numpy as np

from jax_stepcache.check import check_numbers, static_count
from jax_stepcache.errors import naming_arguments
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

# The ends of diffusers' `FlowMatchEulerDiscreteScheduler`.
_MAX, _MIN = 1.0, 0.001


@naming_arguments()
def linear_schedule(
    num_steps: int, sigma_max: float = _MAX, sigma_min: float = _MIN
) -> Schedule:
    """Evenly spaced noise levels, and 0.

    Args:
        num_steps: number of solver steps, at least 1.
        sigma_max: the first noise level, at most 1.
        sigma_min: the last one before 0, above 0 and below the first.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: for a step count below 1, or levels that do not fall within [0, 1].
        TypeError: for a step count that is being traced.
    """
    ramp = _ramp(num_steps, sigma_max, sigma_min)
    return _schedule(sigma_max + ramp * (sigma_min - sigma_max))


@naming_arguments()
def karras_schedule(
    num_steps: int,
    sigma_max: float = _MAX,
    sigma_min: float = _MIN,
    rho: float = 7.0,
) -> Schedule:
    """Noise levels whose roots are evenly spaced, and 0.

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative
    Models"; diffusers' ``use_karras_sigmas``.

    Args:
        num_steps: see `linear_schedule`; so are the ends.
        sigma_max: likewise.
        sigma_min: likewise.
        rho: which root; more puts more steps at low noise.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: see `linear_schedule`; or for a root that is not positive.
        TypeError: see `linear_schedule`.
    """
    check_numbers("rho", rho, above=0)
    ramp = _ramp(num_steps, sigma_max, sigma_min)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _schedule((first + ramp * (last - first)) ** rho)


@naming_arguments()
def exponential_schedule(
    num_steps: int, sigma_max: float = _MAX, sigma_min: float = _MIN
) -> Schedule:
    """Noise levels whose logarithms are evenly spaced, and 0.

    diffusers' ``use_exponential_sigmas``.

    Args:
        num_steps: see `linear_schedule`; so are the ends.
        sigma_max: likewise.
        sigma_min: likewise.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: see `linear_schedule`.
        TypeError: likewise.
    """
    ramp = _ramp(num_steps, sigma_max, sigma_min)
    first, last = np.log(sigma_max), np.log(sigma_min)
    return _schedule(np.exp(first + ramp * (last - first)))


@naming_arguments()
def beta_schedule(
    num_steps: int,
    sigma_max: float = _MAX,
    sigma_min: float = _MIN,
    alpha: float = 0.6,
    beta: float = 0.6,
) -> Schedule:
    """Noise levels at even quantiles of a beta distribution, and 0.

    Lee et al. 2024, "Beta Sampling is All You Need"; diffusers' ``use_beta_sigmas``.

    Args:
        num_steps: see `linear_schedule`; so are the ends.
        sigma_max: likewise.
        sigma_min: likewise.
        alpha: below 1, steps are dense at low noise.
        beta: below 1, steps are dense at high noise.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: see `linear_schedule`; or for parameters that are not positive.
        TypeError: see `linear_schedule`.
    """
    # Here, since it takes a tenth of a second that others need not wait for.
    from scipy.special import betaincinv

    check_numbers("alpha", alpha, above=0)
    check_numbers("beta", beta, above=0)
    ramp = _ramp(num_steps, sigma_max, sigma_min)
    quantiles = betaincinv(alpha, beta, 1 - ramp)
    return _schedule(sigma_min + quantiles * (sigma_max - sigma_min))


def _ramp(num_steps: int, sigma_max: float, sigma_min: float) -> np.ndarray:
    """From 0 to 1, after a look at what was given."""
    count = static_count("num_inference_steps", num_steps, 1)
    check_numbers("sigma_max", sigma_max, above=0, most=1)
    check_numbers("sigma_min", sigma_min, above=0)
    if not sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {sigma_max}; noise levels fall"
        )
    return np.linspace(0, 1, count)


def _schedule(levels: np.ndarray) -> Schedule:
    # The first and the last are meant to be the ends, and powers round.
    return explicit_schedule(np.append(np.minimum(levels, 1.0), 0.0), levels * 1000)
