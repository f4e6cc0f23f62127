"""UniPC for flow matching, order 2, the solver of Wan and DreamZero.

Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
Diffusion Models", variant bh2 on the x0-prediction. Each iteration first corrects the
sample it was given (the network has now been asked there), then predicts the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.policy.forecasts.base import wide


class UniPCTables(NamedTuple):
    """Coefficients of all steps.

    Attributes:
        sigma: [N], turns a velocity into an x0-prediction.
        correct: [N, 4], weights of (last corrected sample, this x0-prediction, the one
            before, the one before that).
        predict: [N, 3], weights of (corrected sample, this x0-prediction, the one
            before).
    """

    sigma: np.ndarray
    correct: np.ndarray
    predict: np.ndarray


class UniPCState(NamedTuple):
    """What UniPC carries beside the sample, each of the sample's shape.

    Attributes:
        corrected: the last corrected sample.
        x0_last: the x0-prediction of the step before.
        x0_before: the x0-prediction of the step before that.
    """

    corrected: jax.Array
    x0_last: jax.Array
    x0_before: jax.Array


@dataclass(frozen=True)
class UniPC:
    """Second-order predictor-corrector; the first and last steps are first order."""

    def tables(self, sigmas: Sequence[float]) -> UniPCTables:
        """See `Solver.tables`."""
        return _tables(np.asarray(sigmas, np.float64))

    def init(self, sample: jax.Array) -> UniPCState:
        """See `Solver.init`."""
        zeros = jnp.zeros_like(sample)
        return UniPCState(corrected=sample, x0_last=zeros, x0_before=zeros)

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
        last, before = wide(state.x0_last), wide(state.x0_before)
        row = jax.tree.map(lambda x: x.astype(last.dtype), row)
        x0 = wide(sample) - row.sigma * wide(velocity)
        corrected = (
            row.correct[0] * wide(state.corrected)
            + row.correct[1] * x0
            + row.correct[2] * last
            + row.correct[3] * before
        )
        following = (
            row.predict[0] * corrected + row.predict[1] * x0 + row.predict[2] * last
        )
        kept = UniPCState(
            corrected.astype(sample.dtype), x0.astype(sample.dtype), state.x0_last
        )
        return following.astype(sample.dtype), kept


def _tables(sigmas: np.ndarray) -> UniPCTables:
    num_steps = len(sigmas) - 1
    with np.errstate(divide="ignore"):
        log_snr = np.log1p(-sigmas) - np.log(sigmas)  # half of it, UniPC's lambda
    correct = np.zeros((num_steps, 4))
    predict = np.zeros((num_steps, 3))
    # The first sample is noise: there is nothing to correct.
    correct[0] = 1, 0, 0, 0
    for i in range(num_steps):
        if i >= 1:
            correct[i] = _corrector(sigmas, log_snr, i)
        predict[i] = _predictor(sigmas, log_snr, i, order=min(2, num_steps - i, i + 1))
    return UniPCTables(sigmas[:-1], correct, predict)


def _corrector(sigmas: np.ndarray, log_snr: np.ndarray, i: int) -> list[float]:
    ratio = sigmas[i] / sigmas[i - 1]
    # 1 - ratio is -alpha * expm1(-h) in the paper's terms, without its infinities.
    gain = 1 - ratio
    if i == 1:
        weight_before, weight_now, spacing = 0.0, 0.5, 1.0
    else:
        h = log_snr[i] - log_snr[i - 1]
        spacing = (log_snr[i - 2] - log_snr[i - 1]) / h
        growth = np.expm1(-h)
        phi = growth / -h - 1
        b1 = phi / growth
        b2 = 2 * (phi / -h - 0.5) / growth
        weight_before = (b1 - b2) / (1 - spacing)
        weight_now = b1 - weight_before
    before = weight_before / spacing
    return [
        ratio,
        gain * weight_now,
        gain * (1 - before - weight_now),
        gain * before,
    ]


def _predictor(
    sigmas: np.ndarray, log_snr: np.ndarray, i: int, order: int
) -> list[float]:
    ratio = sigmas[i + 1] / sigmas[i]
    gain = 1 - ratio
    before = 0.0
    if order == 2:
        h = log_snr[i + 1] - log_snr[i]
        spacing = (log_snr[i - 1] - log_snr[i]) / h
        before = 0.5 / spacing
    return [ratio, gain * (1 - before), gain * before]
