"""UniPC for flow matching, of orders 1 to 3; order 2 is Wan's and DreamZero's solver.

Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
Diffusion Models", variant bh2 on the x0-prediction. Each iteration first corrects the
sample it was given (the network has now been asked there), then predicts the next one.
diffusers' `UniPCMultistepScheduler` with ``use_flow_sigmas``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.solvers.multistep import Memory, empty_memory, half_log_snr
from jax_stepcache.solvers.option import check_order


class UniPCTables(NamedTuple):
    """Coefficients of all steps.

    Attributes:
        sigma: [N], turns a velocity into an x0-prediction.
        correct: [N, order + 2], weights of (last corrected sample, this x0-prediction,
            the one before, the one before that, ...).
        predict: [N, order + 1], weights of (corrected sample, this x0-prediction, the
            one before, ...).
    """

    sigma: np.ndarray
    correct: np.ndarray
    predict: np.ndarray


class UniPCState(NamedTuple):
    """What UniPC carries beside the sample, each of the sample's shape.

    Attributes:
        corrected: the last corrected sample.
        x0s: the x0-predictions of the ``order`` steps before, the newest first.
    """

    corrected: jax.Array
    x0s: Memory


@dataclass(frozen=True)
class UniPC:
    """Predictor-corrector; the first and the last steps are of lower orders.

    It remembers ``order + 1`` arrays like the sample.

    Attributes:
        order: 1 to 3.
    """

    order: int = 2

    def __post_init__(self) -> None:
        """Checks the order.

        Raises:
            ValueError: for one that there is not.
            TypeError: for what is no whole number.
        """
        check_order("UniPC", self.order, 3)

    def tables(self, sigmas: Sequence[float]) -> UniPCTables:
        """See `Solver.tables`."""
        return _tables(np.asarray(sigmas, np.float64), self.order)

    def init(self, sample: jax.Array) -> UniPCState:
        """See `Solver.init`."""
        return UniPCState(sample, empty_memory(sample, self.order + 1))

    def step(
        self,
        row: UniPCTables,
        state: UniPCState,
        sample: jax.Array,
        velocity: jax.Array,
    ) -> tuple[jax.Array, UniPCState]:
        """See `Solver.step`."""
        # The float32 row makes these sums float32 where the sample is bfloat16: there,
        # rounding the coefficients alone would cost as much as rounding the sample.
        before = [wide(x0) for x0 in state.x0s]
        row = jax.tree.map(lambda x: x.astype(before[0].dtype), row)
        x0 = wide(sample) - row.sigma * wide(velocity)
        corrected = row.correct[0] * wide(state.corrected) + row.correct[1] * x0
        for weight, one in zip(row.correct[2:], before, strict=True):
            corrected = corrected + weight * one
        following = row.predict[0] * corrected + row.predict[1] * x0
        # The corrector looks one step further back than the predictor.
        for weight, one in zip(row.predict[2:], before[:-1], strict=True):
            following = following + weight * one
        kept = (x0.astype(sample.dtype), *state.x0s[:-1])
        after = UniPCState(corrected.astype(sample.dtype), kept)
        return following.astype(sample.dtype), after


def _tables(sigmas: np.ndarray, order: int) -> UniPCTables:
    num_steps = len(sigmas) - 1
    log_snr = half_log_snr(sigmas)
    correct = np.zeros((num_steps, order + 2))
    predict = np.zeros((num_steps, order + 1))
    # The first sample is noise: there is nothing to correct.
    correct[0, 0] = 1
    used = 0
    for i in range(num_steps):
        if i >= 1:
            correct[i, : used + 2] = _corrector(sigmas, log_snr, i, used)
        used = min(order, num_steps - i, i + 1)
        predict[i, : used + 1] = _predictor(sigmas, log_snr, i, used)
    return UniPCTables(sigmas[:-1], correct, predict)


def _corrector(
    sigmas: np.ndarray, log_snr: np.ndarray, i: int, order: int
) -> np.ndarray:
    ratio = sigmas[i] / sigmas[i - 1]
    # 1 - ratio is -alpha * expm1(-h) in the paper's terms, without its infinities.
    gain = 1 - ratio
    now, before = 0.5, np.zeros(0)
    if order > 1:
        h = log_snr[i] - log_snr[i - 1]
        spacings = (log_snr[i - order : i - 1][::-1] - log_snr[i - 1]) / h
        *weights, now = _solved(np.append(spacings, 1.0), h)
        before = np.asarray(weights) / spacings
    last = 1 - before.sum() - now
    return np.array([ratio, *(gain * np.array([now, last, *before]))])


def _predictor(
    sigmas: np.ndarray, log_snr: np.ndarray, i: int, order: int
) -> np.ndarray:
    ratio = sigmas[i + 1] / sigmas[i]
    gain = 1 - ratio
    before = np.zeros(0)
    if order > 1:
        h = log_snr[i + 1] - log_snr[i]
        spacings = (log_snr[i + 1 - order : i][::-1] - log_snr[i]) / h
        # Of order 2 the paper has this for what the system would give.
        weights = [0.5] if order == 2 else _solved(spacings, h)
        before = weights / spacings
    return np.array([ratio, *(gain * np.array([1 - before.sum(), *before]))])


def _solved(spacings: np.ndarray, h: float) -> np.ndarray:
    """Weights of differences over spacings that meet as many conditions.

    Pure noise is infinitely far away: it has no weight, and one condition less is met.
    """
    near = np.isfinite(spacings)
    count = near.sum()
    growth = np.expm1(-h)
    phi, factorial, wanted = growth / -h - 1, 1, []
    for k in range(count):
        wanted.append(phi * factorial / growth)
        factorial *= k + 2
        phi = phi / -h - 1 / factorial
    powers = spacings[near] ** np.arange(count)[:, None]
    weights = np.zeros(len(spacings))
    weights[near] = np.linalg.solve(powers, wanted)
    return weights
