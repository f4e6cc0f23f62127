"""diffusers' shifted flow-matching schedules, which differ from the originals'.

`flow_schedule` is that of Wan's and DreamZero's own code; a pipeline of diffusers steps
by another list of noise levels, one for each of its schedulers.
"""

from __future__ import annotations

import functools

import numpy as np

from jax_stepcache.check import check_numbers, static_count
from jax_stepcache.errors import naming_arguments
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

_TRAINED = 1000
# Pure noise has no logarithm of a signal-to-noise ratio.
_BELOW_ONE = 1e-6


@naming_arguments()
def diffusers_unipc_schedule(num_steps: int, shift: float = 5.0) -> Schedule:
    """The levels of `UniPCMultistepScheduler` with ``use_flow_sigmas``.

    Args:
        num_steps: number of solver steps, at least 1.
        shift: ``flow_shift``, positive.

    Returns:
        The schedule, with timesteps ``trunc(1000 * sigma)``.

    Raises:
        ValueError: for a step count below 1, or a shift that is not positive.
        TypeError: for a step count that is no whole number.
    """
    count = static_count("num_inference_steps", num_steps, 1)
    check_numbers("shift", shift, above=0)
    return _unipc(count, float(shift))


@naming_arguments()
def diffusers_euler_schedule(num_steps: int, shift: float = 5.0) -> Schedule:
    """The levels of `FlowMatchEulerDiscreteScheduler`: shifted, and shifted again.

    Args:
        num_steps: number of solver steps, at least 1.
        shift: positive.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: see `diffusers_unipc_schedule`.
        TypeError: likewise.
    """
    count = static_count("num_inference_steps", num_steps, 1)
    check_numbers("shift", shift, above=0)
    return _euler(count, float(shift))


@functools.lru_cache(maxsize=256)
def _unipc(num_steps: int, shift: float) -> Schedule:
    even = np.linspace(1, 1 / _TRAINED, num_steps + 1)[:-1]
    sigmas = shift * even / (1 + (shift - 1) * even)
    if abs(sigmas[0] - 1) < _BELOW_ONE:
        sigmas[0] -= _BELOW_ONE
    # Of what is still float64, as there: no other truncates the same.
    times = np.trunc(sigmas * _TRAINED)
    return explicit_schedule(np.append(sigmas, 0.0), times)


@functools.lru_cache(maxsize=256)
def _euler(num_steps: int, shift: float) -> Schedule:
    # The ends are those of the training's levels, which it holds as float32.
    last = np.float32(1) / np.float32(_TRAINED)
    smallest = np.float32(shift) * last / (1 + np.float32(shift - 1) * last)
    even = np.linspace(_TRAINED, float(smallest) * _TRAINED, num_steps) / _TRAINED
    sigmas = (shift * even / (1 + (shift - 1) * even)).astype(np.float32)
    times = sigmas * np.float32(_TRAINED)
    return explicit_schedule(np.append(sigmas, 0.0), times)
