"""DPM-Solver++, multistep, of orders 1 to 3.

Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion
Probabilistic Models"; diffusers' `DPMSolverMultistepScheduler` with
``use_flow_sigmas`` and ``algorithm_type="dpmsolver++"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jax_stepcache.solvers.multistep import (
    Multistep,
    MultistepRow,
    half_log_snr,
    x0_rows,
)
from jax_stepcache.solvers.option import check_choice, check_order

# Few steps end on lower orders, as in the original.
_FEW = 15


@dataclass(frozen=True)
class DPMSolver(Multistep):
    """DPM-Solver++: exact for an x0-prediction that is a polynomial in log-SNR.

    The first steps have the order that they have predictions for, the last one is of
    the first order. It remembers ``order - 1`` predictions, each like the sample.

    Attributes:
        order: 1, 2 (2M) or 3 (3M).
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
        check_order("DPMSolver", self.order, 3)
        check_choice("solver_type", self.solver_type, ("midpoint", "heun"))

    def tables(self, sigmas: Sequence[float]) -> MultistepRow:
        """See `Solver.tables`."""
        levels = np.asarray(sigmas, np.float64)
        log_snr = half_log_snr(levels)
        num_steps = len(levels) - 1
        weights = np.zeros((num_steps, self.order))
        for i in range(num_steps):
            order = order_at(self.order, i, num_steps)
            weights[i] = self._weights(log_snr, i, order)
        return x0_rows(levels, weights)

    def _weights(self, log_snr: np.ndarray, i: int, order: int) -> np.ndarray:
        """What each prediction gets, over ``1 - ratio``."""
        h = log_snr[i + 1] - log_snr[i]
        # Rows of differences: first and second, over predictions.
        first, second = differences(log_snr, i, order)
        total = np.zeros(3)
        total[0] = 1
        if order == 2 and self.solver_type == "midpoint":
            total += 0.5 * first
        elif order >= 2:
            # exp(-h) - 1 and what the integral of h and of h^2 leave of it.
            gain = np.expm1(-h)
            total -= (gain / h + 1) / gain * first
            total += ((gain + h) / h**2 - 0.5) / gain * second
        return total[: self.order]


def order_at(order: int, i: int, num_steps: int) -> int:
    """The order of a step: what there are predictions for, and less at the end."""
    left = num_steps - i
    if left == 1:
        return 1
    most = left if num_steps < _FEW else order
    return min(order, i + 1, most)


def differences(log_snr: np.ndarray, i: int, order: int) -> tuple[np.ndarray, ...]:
    """Divided differences of predictions, in units of this step's length.

    Args:
        log_snr: [num_steps + 1].
        i: the step.
        order: differences of this order and above are 0.

    Returns:
        The first and the second, weights [3] of the predictions, the newest first.
    """
    first, second = np.zeros(3), np.zeros(3)
    if order == 1:
        return first, second
    h = log_snr[i + 1] - log_snr[i]
    newer = (log_snr[i] - log_snr[i - 1]) / h
    # Pure noise is infinitely far away: its prediction says nothing about a slope.
    first[:2] = 1 / newer, -1 / newer
    if order == 3:
        older = (log_snr[i - 1] - log_snr[i - 2]) / h
        far = np.array([0, 1 / older, -1 / older])
        # For an infinite `older` both are 0.
        change = (first - far) / (newer + older)
        return first + newer * change, change
    return first, second
