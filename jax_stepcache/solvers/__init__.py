"""Solvers of the flow's differential equation, one file each."""

from jax_stepcache.solvers.ancestral import EulerAncestral
from jax_stepcache.solvers.base import Solver
from jax_stepcache.solvers.bespoke import Bespoke
from jax_stepcache.solvers.dpm import DPMSolver
from jax_stepcache.solvers.dpm_sde import DPMSolverSDE
from jax_stepcache.solvers.euler import Euler
from jax_stepcache.solvers.heun import Heun
from jax_stepcache.solvers.ipndm import IPNDM
from jax_stepcache.solvers.lcm import LCM
from jax_stepcache.solvers.named import get_solver
from jax_stepcache.solvers.res import RES
from jax_stepcache.solvers.table import SolverTable
from jax_stepcache.solvers.unipc import UniPC

__all__ = [
    "IPNDM",
    "LCM",
    "RES",
    "Bespoke",
    "DPMSolver",
    "DPMSolverSDE",
    "Euler",
    "EulerAncestral",
    "Heun",
    "Solver",
    "SolverTable",
    "UniPC",
    "get_solver",
]
