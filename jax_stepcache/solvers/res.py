"""RES, a refined exponential solver: two-step, in the logarithm of sigma.

Zhang et al. 2023, "Improved Order Analysis and Design of Exponential Integrator for
Diffusion Models Sampling"; the multistep form that NVIDIA's Cosmos calls ``2ab`` and
ComfyUI ``res_multistep``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.solvers.multistep import Multistep, MultistepRow, x0_rows


@dataclass(frozen=True)
class RES(Multistep):
    """Exact for an x0-prediction that is a line in ``log(sigma)``.

    A flow's velocity is ``(x - x0) / sigma``, so ``x`` falls towards ``x0`` as the
    exponential of that. The first and the last steps are of the first order. It
    remembers one prediction, like the sample.
    """

    def tables(self, sigmas: Sequence[float]) -> MultistepRow:
        """See `Solver.tables`."""
        levels = np.asarray(sigmas, np.float64)
        with np.errstate(divide="ignore"):
            times = -np.log(levels)
        weights = np.tile([1.0, 0.0], (len(levels) - 1, 1))
        for i in range(1, len(levels) - 1):
            if levels[i + 1] == 0:
                continue
            h = times[i + 1] - times[i]
            before = (times[i] - times[i - 1]) / h
            # phi_2 over phi_1, at -h: what a slope gives of what a constant gives.
            slope = (1 - h / -np.expm1(-h)) / -h
            weights[i] = 1 + slope / before, -slope / before
        return x0_rows(levels, weights)
