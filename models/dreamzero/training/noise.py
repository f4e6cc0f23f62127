"""The noise levels that DreamZero is trained at, and how much each one counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainingNoise(NamedTuple):
    """A table of noise levels to draw training examples from.

    Attributes:
        sigmas: float32[num_levels], falling from 1; ``x = (1 - sigma) * x0 + sigma *
            noise``.
        timesteps: float32[num_levels], ``1000 * sigma``, what the network is told.
        weights: float32[num_levels], the loss's factor at each level; their mean is 1.
    """

    sigmas: np.ndarray
    timesteps: np.ndarray
    weights: np.ndarray


def training_noise(num_levels: int = 1000, shift: float = 5.0) -> TrainingNoise:
    """Makes the shifted levels of DreamZero's flow-matching training.

    Unlike sampling's (`jax_stepcache.flow_schedule`), they begin at pure noise and
    their timesteps are not truncated. The weights are a bell around the middle of the
    timesteps, lowered until the least of them is 0.

    Args:
        num_levels: how many levels; the original draws from 1000.
        shift: timestep shift, positive; larger values train more at high noise.

    Returns:
        The table.

    Raises:
        ValueError: for fewer than 2 levels, or a shift that is not positive.
    """
    if num_levels < 2:
        raise ValueError(f"num_levels is {num_levels}; it must be at least 2")
    if not (np.isfinite(shift) and shift > 0):
        raise ValueError(f"shift is {shift}; it must be a positive number")
    # Float32 throughout, as the original: timesteps near 1000 would otherwise be two
    # units in the last place away. Its ramp is built from both ends.
    index, one = np.arange(num_levels), np.float32(1)
    spacing = np.float64(one / np.float32(num_levels))
    from_start, from_end = 1 - spacing * index, spacing * (num_levels - index)
    first_half = index < (num_levels + 1) // 2
    even = np.where(first_half, from_start, from_end).astype(np.float32)
    stretch = np.float32(shift)
    sigmas = stretch * even / (one + (stretch - one) * even)
    bell = np.exp(-2 * (sigmas.astype(np.float64) - 0.5) ** 2)
    weights = bell - bell.min()
    return TrainingNoise(
        sigmas,
        sigmas * np.float32(1000),
        (weights / weights.mean()).astype(np.float32),
    )
