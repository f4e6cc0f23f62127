"""What multistep solvers share: a sum over the sample and what was seen before."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.policy.forecasts.base import wide


class MultistepRow(NamedTuple):
    """What one step takes; with a leading axis of steps, what all take.

    Attributes:
        seen: [2], weights of the sample and of the velocity in what is remembered:
            (1, -sigma) is the x0-prediction, (0, 1) the velocity itself.
        sample: scalar, the weight of the sample in the next one.
        history: [order], weights of what is remembered: this step's, the one before...
    """

    seen: Any
    sample: Any
    history: Any


Memory = tuple[jax.Array, ...]
"""What the last steps remembered, the newest first, each like the sample."""


def empty_memory(sample: jax.Array, order: int) -> Memory:
    """Room for ``order - 1`` steps, zeros."""
    # One array for each: buffers that alias cannot be donated apart.
    return tuple(jnp.zeros_like(sample) for _ in range(order - 1))


def multistep(
    row: MultistepRow, memory: Memory, sample: jax.Array, velocity: jax.Array
) -> tuple[jax.Array, Memory]:
    """Takes one step.

    Args:
        row: the weights, float32.
        memory: what the steps before remembered.
        sample: the sample.
        velocity: the velocity there, same shape.

    Returns:
        The next sample in float32 or wider, and the new memory in the sample's dtype.
    """
    # The sum is float32, as the row is, also where the sample is bfloat16.
    x, v = wide(sample), wide(velocity)
    row = jax.tree.map(lambda weight: weight.astype(x.dtype), row)
    now = row.seen[0] * x + row.seen[1] * v
    following = row.sample * x + row.history[0] * now
    for weight, before in zip(row.history[1:], memory, strict=True):
        following = following + weight * wide(before)
    kept = (now.astype(sample.dtype), *memory)[: len(memory)]
    return following, kept


class Multistep:
    """A solver whose ``tables`` are rows of `multistep`, and which is nothing else.

    Attributes:
        order: of the steps; it remembers one step less, each like the sample.
    """

    order: int = 2

    def init(self, sample: jax.Array) -> Memory:
        """See `Solver.init`."""
        return empty_memory(sample, self.order)

    def step(
        self, row: MultistepRow, state: Memory, sample: jax.Array, velocity: jax.Array
    ) -> tuple[jax.Array, Memory]:
        """See `Solver.step`."""
        following, memory = multistep(row, state, sample, velocity)
        return following.astype(sample.dtype), memory


def x0_rows(sigmas: np.ndarray, weights: np.ndarray) -> MultistepRow:
    """Rows of a solver that remembers x0-predictions and steps exactly where they stay.

    Args:
        sigmas: float64[num_steps + 1].
        weights: [num_steps, order], what each prediction gets of the part that is not
            the sample's; each row sums up to 1.

    Returns:
        The rows of all steps.
    """
    ratio = sigmas[1:] / sigmas[:-1]
    return MultistepRow(
        np.stack([np.ones_like(ratio), -sigmas[:-1]], axis=1),
        ratio,
        (1 - ratio)[:, None] * weights,
    )


def half_log_snr(sigmas: np.ndarray) -> np.ndarray:
    """``log((1 - sigma) / sigma)``, infinite at both ends, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log1p(-sigmas) - np.log(sigmas)
