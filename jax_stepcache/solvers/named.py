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
        TypeError: for what is no solver.
    """
    if not isinstance(solver, str):
        parts = ("tables", "init", "step")
        lacks = not all(callable(getattr(solver, part, None)) for part in parts)
        if lacks or isinstance(solver, type):
            raise TypeError(
                f"solver is {solver!r:.80}; give 'unipc', 'euler', or an object with "
                "tables, init and step, such as Euler()"
            )
        try:
            hash(solver)
        except TypeError:
            raise TypeError(
                f"solver is {solver!r:.80}, which has no hash; it is compiled in, so "
                "make it a frozen dataclass"
            ) from None
        return solver
    known = {"unipc": UniPC, "euler": Euler}
    if solver not in known:
        raise ValueError(unknown_name("solver", solver, known))
    return known[solver]()
