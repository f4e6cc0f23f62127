"""Heun's method: a step of Euler's, and another one that looks at where it led.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models";
diffusers' `FlowMatchHeunDiscreteScheduler`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.solvers.schedule import Schedule


class HeunState(NamedTuple):
    """What is carried beside the sample, each of its shape.

    Attributes:
        sample: the sample at the call before.
        velocity: the velocity there.
    """

    sample: jax.Array
    velocity: jax.Array


@dataclass(frozen=True)
class Heun:
    """Second order, with two network calls a step and one in the last.

    It steps by the schedule that `expanded` makes, which has an entry for each call:
    ``sample`` does that, so 8 steps are 15 calls, and caches count 15.
    """

    def expanded(self, schedule: Schedule) -> Schedule:
        """The schedule of network calls.

        Args:
            schedule: of solver steps.

        Returns:
            The same with all levels twice but for the first and the last.
        """
        first, *inner = schedule.sigmas[:-1]
        twice = np.repeat(inner, 2).tolist()
        told, *others = schedule.timesteps
        return Schedule(
            (first, *twice, schedule.sigmas[-1]),
            (told, *np.repeat(others, 2).tolist()),
        )

    def tables(self, sigmas: Sequence[float]) -> np.ndarray:
        """See `Solver.tables`.

        Args:
            sigmas: of an expanded schedule.

        Returns:
            [calls, 4], weights of the sample, the velocity, and those before.

        Raises:
            ValueError: for levels that no expanded schedule has.
        """
        levels = np.asarray(sigmas, np.float64)
        widths = np.diff(levels)
        if len(widths) % 2 == 0 or widths[1::2].any():
            raise ValueError(
                "Heun calls the network twice at a noise level; denoise takes "
                "Heun().expanded(schedule)"
            )
        weights = np.zeros((len(widths), 4))
        weights[::2, 0], weights[::2, 1] = 1, widths[::2]
        weights[1::2, 1] = weights[1::2, 3] = widths[:-1:2] / 2
        weights[1::2, 2] = 1
        return weights

    def init(self, sample: jax.Array) -> HeunState:
        """See `Solver.init`."""
        return HeunState(jnp.zeros_like(sample), jnp.zeros_like(sample))

    def step(
        self, row: Any, state: HeunState, sample: jax.Array, velocity: jax.Array
    ) -> tuple[jax.Array, HeunState]:
        """See `Solver.step`."""
        # The sum is float32, as the row is, also where the sample is bfloat16.
        arrays = [wide(x) for x in (sample, velocity, state.sample, state.velocity)]
        weights = row.astype(arrays[0].dtype)
        following = weights[0] * arrays[0]
        for weight, x in zip(weights[1:], arrays[1:], strict=True):
            following = following + weight * x
        after = HeunState(sample, velocity.astype(sample.dtype))
        return following.astype(sample.dtype), after
