"""iPNDM: Adams and Bashforth's weights for even steps, up to the fourth order.

Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", in the
form without its warm-up; diffusers' `IPNDMScheduler`, here on the velocity of a flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.solvers.multistep import Multistep, MultistepRow
from jax_stepcache.solvers.option import check_order

_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@dataclass(frozen=True)
class IPNDM(Multistep):
    """Fourth order where steps are even; it remembers ``order - 1`` velocities.

    Attributes:
        order: 1 to 4. The first steps have the order that they have velocities for.
    """

    order: int = 4

    def __post_init__(self) -> None:
        """Checks the order.

        Raises:
            ValueError: for one that there is not.
            TypeError: for what is no whole number.
        """
        check_order("IPNDM", self.order, len(_WEIGHTS))

    def tables(self, sigmas: Sequence[float]) -> MultistepRow:
        """See `Solver.tables`."""
        lengths = np.diff(np.asarray(sigmas, np.float64))
        history = np.zeros((len(lengths), self.order))
        for i, length in enumerate(lengths):
            weights = _WEIGHTS[min(i + 1, self.order) - 1]
            history[i, : len(weights)] = length * np.array(weights)
        seen = np.tile([0.0, 1.0], (len(lengths), 1))
        return MultistepRow(seen, np.ones(len(lengths)), history)
