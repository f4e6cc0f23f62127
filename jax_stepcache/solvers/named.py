"""Solvers by name."""

from __future__ import annotations

from jax_stepcache.errors import unknown_name
from jax_stepcache.solvers.base import Solver
from jax_stepcache.solvers.euler import Euler
from jax_stepcache.solvers.unipc import UniPC


def get_solver(solver: str | Solver) -> Solver:
    """Finds a solver by name.

    Args:
        solver: ``"unipc"``, ``"euler"``, or a solver, which is returned as it is.

    Returns:
        The solver.

    Raises:
        ValueError: for an unknown name.
    """
    if not isinstance(solver, str):
        return solver
    known = {"unipc": UniPC, "euler": Euler}
    if solver not in known:
        raise ValueError(unknown_name("solver", solver, known))
    return known[solver]()
