"""Euler's method with ancestral noise, for flows.

Each step goes further down than asked, and comes back up with fresh noise; diffusers'
`LTXEulerAncestralRFScheduler`, ComfyUI's ``euler_ancestral`` for rectified flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.check import check_numbers
from jax_stepcache.solvers.multistep import MultistepRow
from jax_stepcache.solvers.stochastic import Stochastic, StochasticRow


@dataclass(frozen=True)
class EulerAncestral(Stochastic):
    """First order; it remembers nothing.

    Attributes:
        eta: how much of the noise is fresh, in [0, 1]; 0 is Euler's method.
        s_noise: factor on the fresh noise, not negative.
    """

    eta: float = 1.0
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            ValueError: for a number that does not fit.
        """
        check_numbers("eta", self.eta, least=0, most=1)
        check_numbers("s_noise", self.s_noise, least=0)

    def tables(self, sigmas: Sequence[float]) -> StochasticRow:
        """See `Solver.tables`."""
        levels = np.asarray(sigmas, np.float64)
        now, then = levels[:-1], levels[1:]
        down = then * (1 + (then / now - 1) * self.eta)
        scale = (1 - then) / (1 - down)
        fresh = np.sqrt(np.maximum(then**2 - (down * scale) ** 2, 0))
        ratio = down / now
        seen = np.stack([np.ones_like(now), -now], axis=1)
        mean = MultistepRow(seen, scale * ratio, (scale * (1 - ratio))[:, None])
        return StochasticRow(mean, self.s_noise * fresh)
