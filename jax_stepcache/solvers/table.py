"""Tables: a solver and its schedule as numbers, for so many network calls.

Between two calls of the network everything is linear. So a multistep solver, and a
cache that forecasts at steps that are known before, come to the same thing: at which
noise level each call is made, and what is made of the noise and of the velocities so
far for the next one. Shaul et al. 2024, "Bespoke Non-Stationary Solvers for Fast
Sampling of Diffusion and Flow Models".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import fetched


class SolverTable(NamedTuple):
    """How one output is sampled with N network calls; a pytree of arrays.

    The first call sees the noise. The sample after call j is ``noise[j]`` times the
    noise and, for each call k up to j, ``velocities[j, k]`` times its velocity; the
    last of these is the result. A table stands where a schedule does: ``sample(params,
    schedule=table)``. Another one of as many calls runs the same compiled program.

    Attributes:
        sigmas: float[N + 1], the noise level of each call, falling within [0, 1], and
            where sampling ends. Caches look at them; the solver does not.
        timesteps: float[N], what the network is told at each call.
        noise: float[N], weights of the noise.
        velocities: float[N, N], weights of the velocities; 0 above the diagonal.
    """

    sigmas: Any
    timesteps: Any
    noise: Any
    velocities: Any

    @property
    def num_steps(self) -> int:
        """Number of network calls."""
        return np.shape(self.timesteps)[0]


class Calls(NamedTuple):
    """Stands for a table in what is static: its numbers are arrays.

    Attributes:
        num_steps: its number of network calls.
    """

    num_steps: int


def checked_table(table: SolverTable, what: str = "the table") -> SolverTable:
    """Checks a table.

    Args:
        table: what was given. Of traced arrays only the shapes are looked at.
        what: whose it is, for the error.

    Returns:
        The table in float32, NumPy's where it is not on a device or traced.

    Raises:
        ValueError: for shapes that do not fit each other, noise levels that rise or
            leave [0, 1], numbers that are not finite, or weights of velocities that are
            not there yet.
        TypeError: for what is no array of numbers.
    """
    try:
        shapes = {name: np.shape(x) for name, x in table._asdict().items()}
    except ValueError:
        raise ValueError(f"{what} has rows of different lengths") from None
    calls = (*shapes["timesteps"], 0)[0]
    wanted = {
        "sigmas": (calls + 1,),
        "timesteps": (calls,),
        "noise": (calls,),
        "velocities": (calls, calls),
    }
    if shapes != wanted or calls < 1:
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"{what} has arrays of shapes {given}; N calls need sigmas [N + 1], "
            "timesteps [N], noise [N] and velocities [N, N], N being 1 or more"
        )
    return SolverTable(*(_checked(x, k, what) for k, x in table._asdict().items()))


def _checked(x: Any, name: str, what: str) -> Any:
    if isinstance(x, Tracer | jax.ShapeDtypeStruct):
        return x
    try:
        numbers = np.asarray(fetched(x), np.float32)
    except (TypeError, ValueError):
        raise TypeError(f"{what} has {name} {x!r:.80}; give numbers") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} has {name} {numbers.tolist()}; each must be finite")
    if name == "sigmas" and not (
        np.all(np.diff(numbers) < 0) and numbers[0] <= 1 and numbers[-1] >= 0
    ):
        raise ValueError(
            f"{what} has noise levels {numbers.tolist()}; sigmas must fall strictly "
            "within [0, 1]"
        )
    if name == "velocities" and np.triu(numbers, 1).any():
        raise ValueError(
            f"{what} has weights of velocities before they are there: velocities must "
            "be 0 above its diagonal"
        )
    return x if isinstance(x, jax.Array) else numbers
