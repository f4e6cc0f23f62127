"""Solvers of the flow's differential equation, one file each."""

from jax_stepcache.solvers.base import Solver
from jax_stepcache.solvers.euler import Euler
from jax_stepcache.solvers.named import get_solver
from jax_stepcache.solvers.unipc import UniPC

__all__ = ["Euler", "Solver", "UniPC", "get_solver"]
