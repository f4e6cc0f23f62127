"""DPM-Solver++ of the stochastic equation, multistep, of orders 1 and 2.

Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion
Probabilistic Models"; diffusers' `DPMSolverMultistepScheduler` with
``use_flow_sigmas`` and ``algorithm_type="sde-dpmsolver++"``. Of order 1 it is ancestral
sampling. There is no order 3: diffusers' adds a second difference that does not vanish
as steps get short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.solvers.dpm import differences, order_at
from jax_stepcache.solvers.multistep import MultistepRow, half_log_snr
from jax_stepcache.solvers.option import check_choice, check_order
from jax_stepcache.solvers.stochastic import Stochastic, StochasticRow


@dataclass(frozen=True)
class DPMSolverSDE(Stochastic):
    """DPM-Solver++ that adds noise; orders of steps are those of `DPMSolver`.

    It remembers ``order - 1`` predictions, each like the sample.

    Attributes:
        order: 1 or 2 (2M).
        solver_type: ``"midpoint"`` or ``"heun"``, two second-order steps.
    """

    order: int = 2
    solver_type: str = "midpoint"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            ValueError: for another order or type.
            TypeError: for an order that is no whole number.
        """
        check_order("DPMSolverSDE", self.order, 2)
        check_choice("solver_type", self.solver_type, ("midpoint", "heun"))

    def tables(self, sigmas: Sequence[float]) -> StochasticRow:
        """See `Solver.tables`."""
        levels = np.asarray(sigmas, np.float64)
        now, then = levels[:-1], levels[1:]
        # exp(-h), finite from pure noise to none.
        decay = (1 - now) / now * then / (1 - then)
        gain = 1 - decay**2
        log_snr = half_log_snr(levels)
        num_steps = len(now)
        history = np.zeros((num_steps, self.order))
        for i in range(num_steps):
            order = order_at(self.order, i, num_steps)
            weights = self._weights(log_snr, gain[i], i, order)
            history[i] = (1 - then[i]) * weights[: self.order]
        seen = np.stack([np.ones_like(now), -now], axis=1)
        mean = MultistepRow(seen, then / now * decay, history)
        return StochasticRow(mean, then * np.sqrt(gain))

    def _weights(
        self, log_snr: np.ndarray, gain: float, i: int, order: int
    ) -> np.ndarray:
        """What each prediction gets, over the signal that there is next."""
        total = np.array([gain, 0.0, 0.0])
        if order == 1:
            return total
        slope, _ = differences(log_snr, i, order)
        if self.solver_type == "midpoint":
            return total + 0.5 * gain * slope
        return total + (1 - gain / (2 * (log_snr[i + 1] - log_snr[i]))) * slope
