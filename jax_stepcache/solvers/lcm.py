"""Sampling of consistency models: to the prediction, and back up with fresh noise.

Luo et al. 2023, "Latent Consistency Models"; diffusers' `FlowMatchLCMScheduler`. For
networks that were distilled for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.solvers.multistep import MultistepRow
from jax_stepcache.solvers.stochastic import Stochastic, StochasticRow


@dataclass(frozen=True)
class LCM(Stochastic):
    """All noise is fresh at every step; it remembers nothing."""

    def tables(self, sigmas: Sequence[float]) -> StochasticRow:
        """See `Solver.tables`."""
        levels = np.asarray(sigmas, np.float64)
        now, then = levels[:-1], levels[1:]
        seen = np.stack([np.ones_like(now), -now], axis=1)
        mean = MultistepRow(seen, np.zeros_like(now), (1 - then)[:, None])
        return StochasticRow(mean, then)
