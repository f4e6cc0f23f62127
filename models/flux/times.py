"""Noise levels of FLUX, and what the network is told of them."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_stepcache.check import static_count
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

# Two numbers of tokens, and the logarithms of the shifts that they are given.
_TOKENS, _SHIFTS = (256, 4096), (0.5, 1.15)
_TIMES = 1000.0


def shift_of(tokens: int) -> float:
    """The logarithm of the shift for so many tokens of image; also beyond the two."""
    slope = (_SHIFTS[1] - _SHIFTS[0]) / (_TOKENS[1] - _TOKENS[0])
    return tokens * slope + _SHIFTS[0] - slope * _TOKENS[0]


def flux_schedule(num_steps: int, tokens: int | None = None) -> Schedule:
    """The noise levels, with what diffusers tells the network.

    Args:
        num_steps: number of solver steps, at least 1.
        tokens: of the image, by which dev's levels are shifted; None for schnell's.

    Returns:
        The schedule, with timesteps ``1000 * sigma``.

    Raises:
        ValueError: for a step count below 1, or so large an image that its levels are
            one number.
        TypeError: for a step count that is no whole number.
    """
    count = static_count("num_inference_steps", num_steps, 1)
    return _schedule(count, None if tokens is None else shift_of(tokens))


@functools.lru_cache(maxsize=256)
def _schedule(num_steps: int, shift: float | None) -> Schedule:
    sigmas = np.linspace(1.0, 1 / num_steps, num_steps)
    if shift is not None:
        sigmas = math.exp(shift) / (math.exp(shift) + (1 / sigmas - 1))
    levels = sigmas.astype(np.float32)
    if not np.all(np.diff(levels) < 0):
        raise ValueError(
            f"the picture is too large: its tokens shift the {num_steps} noise levels "
            f"by e^{shift:.1f}, which makes some of them one number; ask for a smaller "
            "height and width, or give schedule="
        )
    return explicit_schedule(np.append(levels, 0.0), levels * np.float32(_TIMES))


def told(t: jax.Array, dtype: DTypeLike, original: bool = False) -> jax.Array:
    """What becomes of a timestep before its sinusoids are taken.

    diffusers divides by 1000 and multiplies again; in 16 bits each step rounds.

    Args:
        t: float32 timesteps, ``1000 * sigma``.
        dtype: of the activations.
        original: whether sigma itself is rounded, as in the original's code.

    Returns:
        Timesteps in [0, 1000], of the dtype.
    """
    if original:
        sigma = (t / _TIMES).astype(dtype)
    else:
        sigma = (t.astype(dtype) / jnp.asarray(_TIMES, dtype)).astype(dtype)
    return sigma * jnp.asarray(_TIMES, dtype)


def guidance_told(scale: jax.Array, dtype: DTypeLike) -> jax.Array:
    """What becomes of a guidance scale before its sinusoids are taken."""
    return scale.astype(dtype) * jnp.asarray(_TIMES, dtype)
