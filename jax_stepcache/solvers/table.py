"""Tables: a solver and its schedule as numbers, for so many network calls.

Between two calls of the network everything is linear. So a multistep solver, and a
cache that forecasts at steps that are known before, come to the same thing: at which
noise level each call is made, and what is made of the noise and of the velocities so
far for the next one. Shaul et al. 2024, "Bespoke Non-Stationary Solvers for Fast
Sampling of Diffusion and Flow Models".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import fetched
from jax_stepcache.policy.prefix import spread


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
        noise: float[N], weights of the noise; or a tree of them, a prefix of the
            sample, where outputs share noise levels and have weights of their own.
        velocities: float[N, N], weights of the velocities, 0 above the diagonal; or
            such a tree.
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


def one_for_each(table: SolverTable, outputs: Any) -> list[SolverTable]:
    """A table as one for each of the outputs that go by it.

    Args:
        table: weights may be trees.
        outputs: pytree of arrays.

    Returns:
        Tables whose weights are arrays, in leaf order.

    Raises:
        ValueError: if the trees do not fit the outputs.
    """
    noise, velocities = (
        spread(weights, outputs, is_weights, f"the table's {name}")
        for name, weights in (("noise", table.noise), ("velocities", table.velocities))
    )
    return [
        table._replace(noise=one, velocities=other)
        for one, other in zip(noise, velocities, strict=True)
    ]


def one_for_all(tables: Sequence[SolverTable], structure: Any) -> SolverTable:
    """Tables of the same noise levels as one; the inverse of `one_for_each`."""
    noise, velocities = (
        jax.tree.unflatten(structure, [getattr(one, name) for one in tables])
        for name in ("noise", "velocities")
    )
    return tables[0]._replace(noise=noise, velocities=velocities)


def is_weights(node: Any) -> bool:
    """Tells weights, arrays or lists of numbers, from a tree of them."""
    return not isinstance(node, Mapping) and not _is_tree_of_arrays(node)


def _is_tree_of_arrays(node: Any) -> bool:
    # Lists of numbers are what JSON has for arrays.
    return isinstance(node, tuple) and bool(node) and np.ndim(node[0]) > 0


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
    checked = SolverTable(
        _checked(table.sigmas, "sigmas", what),
        _checked(table.timesteps, "timesteps", what),
        *(
            jax.tree.map(
                lambda x, name=name: _checked(x, name, what),
                weights,
                is_leaf=is_weights,
            )
            for name, weights in (
                ("noise", table.noise),
                ("velocities", table.velocities),
            )
        ),
    )
    calls = (*np.shape(checked.timesteps), 0)[0]
    wanted = {
        "sigmas": (calls + 1,),
        "timesteps": (calls,),
        "noise": (calls,),
        "velocities": (calls, calls),
    }
    for name, part in checked._asdict().items():
        for x in jax.tree.leaves(part) or [np.zeros(0)]:
            if np.shape(x) != wanted[name] or calls < 1:
                raise ValueError(
                    f"{what} has {name} of shape {list(np.shape(x))}, for {calls} "
                    "calls; N calls need sigmas [N + 1], timesteps [N], noise [N] and "
                    "velocities [N, N], N being 1 or more"
                )
    return checked


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
        np.all(np.diff(numbers) <= 0) and numbers.min() >= 0 and numbers.max() <= 1
    ):
        raise ValueError(
            f"{what} has noise levels {numbers.tolist()}; sigmas must fall within "
            "[0, 1]"
        )
    if name == "velocities" and numbers.ndim == 2 and np.triu(numbers, 1).any():
        raise ValueError(
            f"{what} has weights of velocities before they are there: velocities must "
            "be 0 above its diagonal"
        )
    return x if isinstance(x, jax.Array) else numbers


def as_tables(given: Any, what: str = "the table") -> Any:
    """Tables from what JSON has for them; tables stay as they are.

    Args:
        given: a `SolverTable`, a mapping with its attributes, or a mapping with one of
            these for each output.
        what: what it is, for the error.

    Returns:
        A checked table, or a dict of them.

    Raises:
        ValueError: for what is no table.
        TypeError: likewise.
    """
    if isinstance(given, SolverTable):
        return checked_table(given, what)
    if not isinstance(given, Mapping) or not given:
        raise TypeError(
            f"{what} is {given!r:.80}; give a SolverTable, one for each output, or a "
            f"mapping with {list(SolverTable._fields)}"
        )
    if set(given) == set(SolverTable._fields):
        return checked_table(SolverTable(**given), what)
    odd = set(given) & set(SolverTable._fields)
    if odd:
        raise ValueError(
            f"{what} has {sorted(given)}; a table has {list(SolverTable._fields)}"
        )
    return {name: as_tables(one, f"{what}[{name!r}]") for name, one in given.items()}


def table_to_json(tables: Any) -> dict[str, Any]:
    """Tables as JSON has them, what `as_tables` takes; float32 is kept exactly."""
    if isinstance(tables, SolverTable):
        lists = {name: _lists(part) for name, part in tables._asdict().items()}
        return lists
    return {name: table_to_json(one) for name, one in tables.items()}


def _lists(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _lists(one) for name, one in part.items()}
    # The shortest text that is this float32 again.
    shortest = np.vectorize(lambda x: float(str(np.float32(x))), otypes=[object])
    return shortest(np.asarray(fetched(part), np.float32)).tolist()
