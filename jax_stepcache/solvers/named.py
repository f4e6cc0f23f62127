"""Solvers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jax_stepcache.errors import unknown_name
from jax_stepcache.solvers.ancestral import EulerAncestral
from jax_stepcache.solvers.base import Solver
from jax_stepcache.solvers.dpm import DPMSolver
from jax_stepcache.solvers.dpm_sde import DPMSolverSDE
from jax_stepcache.solvers.euler import Euler
from jax_stepcache.solvers.heun import Heun
from jax_stepcache.solvers.ipndm import IPNDM
from jax_stepcache.solvers.lcm import LCM
from jax_stepcache.solvers.res import RES
from jax_stepcache.solvers.unipc import UniPC

SOLVERS: Mapping[str, Callable[[], Solver]] = MappingProxyType(
    {
        "euler": Euler,
        "unipc": UniPC,
        "unipc_1": lambda: UniPC(1),
        "unipc_2": lambda: UniPC(2),
        "unipc_3": lambda: UniPC(3),
        "dpm++_1": lambda: DPMSolver(1),
        "dpm++_2m": DPMSolver,
        "dpm++_3m": lambda: DPMSolver(3),
        "heun": Heun,
        "ipndm": IPNDM,
        "res": RES,
        "euler_ancestral": EulerAncestral,
        "dpm++_sde": lambda: DPMSolverSDE(1),
        "dpm++_2m_sde": DPMSolverSDE,
        "lcm": LCM,
    }
)
"""What makes the solver of each name."""

# What solvers are called in other libraries, in plain letters.
_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("dpmsolver++", "dpm++", "dpmpp2m", "dpmsolvermultistep", "dpmsolver"),
            "dpm++_2m",
        ),
        **dict.fromkeys(("dpmpp3m", "dpmsolver++3m"), "dpm++_3m"),
        **dict.fromkeys(("unipcmultistep", "flowunipc", "unipcbh2"), "unipc"),
        **dict.fromkeys(("resmultistep", "res2m", "res2ab", "exponential"), "res"),
        **dict.fromkeys(("flowmatcheuler", "flowmatcheulerdiscrete"), "euler"),
        **dict.fromkeys(("dpmpp2msde", "sdedpmsolver++", "dpmppsde"), "dpm++_2m_sde"),
        **dict.fromkeys(("eulera", "ancestral", "eulerancestralrf"), "euler_ancestral"),
        **dict.fromkeys(("lcmscheduler", "flowmatchlcm"), "lcm"),
        "flowmatchheun": "heun",
        "ipndm4": "ipndm",
        "ddim": "euler",
    }
)


def get_solver(solver: str | Solver) -> Solver:
    """Finds a solver by name.

    Args:
        solver: a name, such as ``"unipc"`` or ``"dpm++_2m"``; or a solver, which is
            returned as it is.

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
    if solver not in SOLVERS:
        raise ValueError(unknown_name("solver", solver, SOLVERS, _ELSEWHERE))
    return SOLVERS[solver]()


def name_of(solver: Solver) -> str:
    """What a solver is called; one that has no name by what it prints."""
    for name, make in SOLVERS.items():
        if make() == solver:
            return name
    return repr(solver)
