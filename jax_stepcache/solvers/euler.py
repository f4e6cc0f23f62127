"""The flow's Euler solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jax_stepcache.policy.forecasts.base import wide


@dataclass(frozen=True)
class Euler:
    """First order: ``x += v * (sigma_next - sigma)``."""

    def tables(self, sigmas: Sequence[float]) -> np.ndarray:
        """See `Solver.tables`: the sigma differences, float64[num_steps]."""
        return np.diff(np.asarray(sigmas, np.float64))

    def init(self, sample: jax.Array) -> tuple[()]:
        """See `Solver.init`: nothing is carried."""
        del sample
        return ()

    def step(
        self, row: jax.Array, state: tuple[()], sample: jax.Array, velocity: jax.Array
    ) -> tuple[jax.Array, tuple[()]]:
        """See `Solver.step`."""
        # The sum is float32, as the row is, also where the sample is bfloat16.
        x, v = wide(sample), wide(velocity)
        return (x + row.astype(x.dtype) * v).astype(sample.dtype), state
