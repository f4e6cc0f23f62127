"""Noise schedules: which sigma and which timestep each solver step sees.

Flow matching places a sample between data and noise, ``x = (1 - sigma) * x0 + sigma *
noise``; sampling walks sigma from almost one down to zero. A schedule is static: plain
Python floats, hashable, made in float64 at trace time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_numbers
from jax_stepcache.errors import naming_arguments, unknown_name
from jax_stepcache.policy.prefix import spread
from jax_stepcache.solvers.table import Calls, SolverTable, one_for_each

# FlowUniPC's largest sigma. The original stores it in float32, and its timesteps are
# truncated from that value.
_SIGMA_MAX = float(np.float32(0.999))

# What the noise level itself is called elsewhere.
_TIMES: dict[str, str] = dict.fromkeys(
    ("t", "time", "sigmas", "noise", "noiselevel", "level"), "sigma"
)


class Schedule(NamedTuple):
    """A static noise schedule.

    Attributes:
        sigmas: ``num_steps + 1`` noise levels in [0, 1], strictly falling; the last one
            is where sampling ends (0, or the final noise of a decoupled schedule).
        timesteps: ``num_steps`` values the network is told, one for each step.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @property
    def num_steps(self) -> int:
        """Number of solver steps."""
        return len(self.timesteps)


AnySchedule = Schedule | SolverTable
"""What tells each step its noise level."""


@naming_arguments()
def flow_schedule(
    num_steps: int, shift: float = 5.0, final_noise: float | None = None
) -> Schedule:
    """Makes the shifted flow-matching schedule of Wan and DreamZero.

    Args:
        num_steps: number of solver steps, at least 1.
        shift: timestep shift, positive; 1 is an even spread, larger values spend more
            steps at high noise.
        final_noise: where a decoupled schedule stops, in [0, 1) (DreamZero stops its
            video at 0.8 while the action goes on to 0); None runs to 0.

    Returns:
        The schedule, with timesteps ``trunc(1000 * sigma)``.

    Raises:
        ValueError: for a step count below 1, a shift that is not positive, or a final
            noise outside [0, 1).
        TypeError: for a step count that is no whole number.
    """
    if not isinstance(num_steps, int | np.integer) or isinstance(num_steps, bool):
        raise TypeError(
            f"num_inference_steps is {num_steps!r}; it must be a whole number"
        )
    if num_steps < 1:
        raise ValueError(f"num_inference_steps is {num_steps}; it must be at least 1")
    check_numbers("shift", shift)
    shift = float(shift)
    if shift <= 0:
        raise ValueError(f"shift is {shift}; it must be a positive number")
    if final_noise is not None:
        check_numbers("final_noise", final_noise)
        if not 0 <= final_noise < 1:
            raise ValueError(f"final_noise is {final_noise}; it must be in [0, 1)")
        final_noise = float(final_noise)
    return _flow_schedule(int(num_steps), shift, final_noise)


# Asked for at every call, by few users for more than a few schedules.
@functools.lru_cache(maxsize=256)
def _flow_schedule(num_steps: int, shift: float, final_noise: float | None) -> Schedule:
    even = np.linspace(_SIGMA_MAX, 0.0, num_steps + 1)[:-1]
    sigmas = np.append(shift * even / (1 + (shift - 1) * even), 0.0)
    if final_noise is not None:
        # The original squeezes the whole range, the last sigma included.
        sigmas = sigmas * (sigmas[0] - final_noise) / sigmas[0] + final_noise
    return explicit_schedule(sigmas)


@naming_arguments()
def explicit_schedule(
    sigmas: Sequence[float] | np.ndarray,
    timesteps: Sequence[float] | np.ndarray | str | None = None,
) -> Schedule:
    """Makes a schedule from given noise levels.

    Args:
        sigmas: ``num_steps + 1`` falling noise levels in [0, 1].
        timesteps: what the network is told at each step; None for
            ``trunc(1000 * sigma)``, the habit of diffusers and Wan; ``"sigma"`` for the
            noise level itself, as pi0 and most networks of one's own have it.

    Returns:
        The schedule.

    Raises:
        ValueError: if the sigmas do not fall, leave [0, 1], or the lengths disagree;
            or for another name.
        TypeError: if they are no numbers.
    """
    try:
        levels = np.asarray(sigmas, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"sigmas is {sigmas!r:.80}; it must list numbers") from None
    if levels.ndim != 1 or len(levels) < 2:
        raise ValueError(
            f"sigmas has shape {levels.shape}; it must list the noise level of every "
            "step and where sampling ends, two numbers or more"
        )
    if not (np.all(np.diff(levels) < 0) and levels[0] <= 1 and levels[-1] >= 0):
        raise ValueError(f"sigmas must fall strictly within [0, 1]; got {levels}")
    if timesteps is None:
        # Through float32, as the originals: 0.937 * 1000 must not become 936.
        times = np.trunc(levels[:-1].astype(np.float32) * np.float32(1000))
    elif isinstance(timesteps, str):
        if timesteps != "sigma":
            raise ValueError(unknown_name("timesteps", timesteps, ["sigma"], _TIMES))
        times = levels[:-1]
    else:
        times = np.asarray(timesteps, np.float64)
    if times.shape != (len(levels) - 1,):
        raise ValueError(
            f"timesteps has shape {times.shape}; {len(levels)} sigmas need "
            f"({len(levels) - 1},)"
        )
    if not np.isfinite(times).all():
        raise ValueError(f"timesteps is {times.tolist()}; each must be finite")
    return Schedule(tuple(levels.tolist()), tuple(times.tolist()))


def is_schedule(node: Any) -> bool:
    """Tells a schedule from a tree of schedules (for ``is_leaf`` of ``jax.tree``).

    A table is one, too.
    """
    return isinstance(node, Schedule | SolverTable | Calls)


def num_steps_of(schedule: Any) -> int:
    """The step count that all schedules of a tree share.

    Raises:
        ValueError: if they differ.
        TypeError: if one is no schedule.
    """
    schedules = jax.tree.leaves(schedule, is_leaf=is_schedule)
    if not schedules or not all(is_schedule(s) for s in schedules):
        raise TypeError(
            f"schedule is {schedule!r}; give what flow_schedule or explicit_schedule "
            "returns, or one such for each output"
        )
    counts = {s.num_steps for s in schedules}
    if len(counts) != 1:
        raise ValueError(
            f"the outputs' schedules have {sorted(counts)} steps; they step together "
            "and need the same number"
        )
    return counts.pop()


def per_output(schedule: Any, sample: Any) -> Any:
    """Spreads a schedule, or a tree of them, over the leaves of a sample.

    Args:
        schedule: one schedule for everything, or a tree that is a prefix of ``sample``.
        sample: any pytree.

    Returns:
        A tuple with one schedule for each leaf of ``sample``, in leaf order.

    Raises:
        ValueError: if the tree of schedules does not fit the sample.
    """
    if isinstance(schedule, SolverTable):
        return tuple(one_for_each(schedule, sample))
    return spread(schedule, sample, is_schedule, "schedule")


def timesteps_at(schedule: Any, step: jax.Array, batch: int) -> Any:
    """What the network is told at a step.

    Args:
        schedule: a schedule or a tree of them.
        step: int32 scalar, the index of the step.
        batch: number of rows the network sees.

    Returns:
        The schedule's structure with a float32[batch] array in each place.
    """
    return jax.tree.map(
        lambda s: jnp.full((batch,), jnp.asarray(s.timesteps, jnp.float32)[step]),
        schedule,
        is_leaf=is_schedule,
    )


def sigma_at(schedule: Schedule | SolverTable, step: jax.Array) -> jax.Array:
    """The noise level of a step, a float32 scalar."""
    return jnp.asarray(schedule.sigmas, jnp.float32)[step]
