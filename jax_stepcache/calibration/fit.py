"""Fits of what was seen: TeaCache's polynomial, and how the network responds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.calibration.trajectory import Trajectory
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.solvers.schedule import per_output

_DEGREE = 4


class PolynomialFit(NamedTuple):
    """TeaCache's polynomial from the input's change to the output's.

    Attributes:
        coefficients: five numbers, highest power first.
        r_squared: share of the output change's variance that it explains.
    """

    coefficients: tuple[float, ...]
    r_squared: float


def fit_polynomial(
    input_change: Sequence[float] | np.ndarray,
    output_change: Sequence[float] | np.ndarray,
    looked_at: str = "modulated input",
) -> PolynomialFit:
    """Fits TeaCache's polynomial, of degree 4.

    Args:
        input_change: relative changes of the modulated input, from step to step.
        output_change: of the blocks' output, as many.
        looked_at: what the input is, for messages.

    Returns:
        The fit.

    Raises:
        ValueError: if there are fewer than five steps, or different changes of the
            input, or not as many of both, or for changes that are not finite.
    """
    x, y = (np.ravel(np.asarray(c, np.float64)) for c in (input_change, output_change))
    if x.shape != y.shape or len(x) <= _DEGREE:
        raise ValueError(
            f"a polynomial of degree {_DEGREE} needs more than {_DEGREE} steps, as "
            f"many inputs as outputs; got {len(x)} and {len(y)}"
        )
    for what, changes in ((looked_at, x), ("blocks' output", y)):
        odd = np.flatnonzero(~np.isfinite(changes)).size
        if odd:
            raise ValueError(
                f"{odd} of {changes.size} changes of the {what} are NaN or infinity, "
                "as where it holds such numbers or nothing but zeros: look at "
                "modulated and blocks, and at the weights"
            )
    if np.unique(x).size <= _DEGREE:
        raise ValueError(
            f"the {looked_at} has {np.unique(x).size} different changes, and a "
            f"polynomial of degree {_DEGREE} needs more than {_DEGREE}: does it depend "
            "on the timestep? Give coefficients to do without a fit"
        )
    coefficients = np.polyfit(x, y, _DEGREE)
    error = np.square(y - np.polyval(coefficients, x)).sum()
    spread = np.square(y - y.mean()).sum()
    r_squared = 1.0 - error / spread if spread > 0 else 1.0
    return PolynomialFit(tuple(coefficients.tolist()), float(r_squared))


def mean_ratios(trajectories: Sequence[Trajectory]) -> tuple[float, ...]:
    """MagCache's ratios, averaged over trajectories and branches; 1 at the first step.

    Args:
        trajectories: uncached ones, watched inside.

    Returns:
        One ratio for each step.
    """
    return _rounded(_ratios(trajectories).mean(axis=1))


def branch_ratios(trajectories: Sequence[Trajectory]) -> tuple[tuple[float, ...], ...]:
    """The original MagCache's ratios, a curve for each branch; 1 at the first step.

    Args:
        trajectories: uncached ones, watched inside.

    Returns:
        A ratio for each step of the conditional branch and of the unconditional one;
        without guidance the same for both.
    """
    ratios = _ratios(trajectories)
    return _rounded(ratios[:, 0]), _rounded(ratios[:, -1])


def _ratios(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Means over trajectories, float[num_steps, branches]."""
    seen = np.stack(jax.device_get([t.seen.ratio for t in trajectories]))
    return seen.mean(axis=0)


def _rounded(ratios: np.ndarray) -> tuple[float, ...]:
    return (1.0, *(round(float(ratio), 6) for ratio in ratios[1:]))


def time_changes(trajectories: Sequence[Trajectory], name: str) -> np.ndarray:
    """How far the embedded timestep moves, as `EmbeddedTime` measures it.

    Args:
        trajectories: uncached ones, watched for ``"times"``.
        name: ``"embedding"`` or ``"projection"``.

    Returns:
        float32[trajectories * (num_steps - 1) * branches], in the order of the
        trajectories' ``output_change``.
    """
    apart = jax.vmap(jax.vmap(relative_l1))
    seen = jax.device_get([t.seen.times[name] for t in trajectories])
    return np.concatenate([np.ravel(apart(x[:-1], x[1:])) for x in seen])


def fit_response(
    uncached: Trajectory, cached: Sequence[Trajectory], schedule: Any
) -> Any:
    """How the network's answer moves with the sample, see `replay_whole`.

    Args:
        uncached: the trajectory that all departed from.
        cached: real cached trajectories, from the same noise.
        schedule: their schedule, or one for each output.

    Returns:
        float32[num_steps] for each output, in the sample's structure: for each step the
        least-squares response over the trajectories that computed it; where none has,
        that of the nearest step. 1 where nothing has moved.
    """
    uncached, cached = jax.device_get((uncached, list(cached)))
    leaves, structure = jax.tree.flatten(uncached.samples)
    said = jax.tree.leaves(uncached.velocities)
    schedules = per_output(schedule, uncached.samples)
    fitted = []
    for i, (sample, velocity) in enumerate(zip(leaves, said, strict=True)):
        sigma = np.asarray(schedules[i].sigmas[:-1], np.float32)
        across, along = np.zeros(len(sigma)), np.zeros(len(sigma))
        for one in cached:
            ran = np.asarray(one.computed)
            moved = np.asarray(jax.tree.leaves(one.samples)[i] - sample)
            moved = moved.reshape(len(sigma), -1) / sigma[:, None]
            answer = np.asarray(jax.tree.leaves(one.velocities)[i] - velocity)
            answer = answer.reshape(len(sigma), -1)
            across += ran * (moved * answer).sum(axis=1)
            along += ran * (moved * moved).sum(axis=1)
        known = np.flatnonzero(along > 1e-12)
        response = np.ones(len(sigma), np.float32)
        if len(known):
            steps = np.arange(len(sigma))
            nearest = known[np.abs(steps[:, None] - known[None, :]).argmin(axis=1)]
            response = (across[nearest] / along[nearest]).astype(np.float32)
        fitted.append(response)
    return jax.tree.unflatten(structure, fitted)
