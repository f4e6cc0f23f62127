"""Which solver, and which of diffusers' two lists of noise levels, a pipeline has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jax_stepcache.errors import unknown_name
from jax_stepcache.solvers.diffusers_flow import (
    diffusers_euler_schedule,
    diffusers_unipc_schedule,
)
from jax_stepcache.solvers.schedule import Schedule, flow_schedule


class Scheduler(NamedTuple):
    """What a pipeline steps with.

    Attributes:
        solver: its name, as `get_solver` takes it.
        spacing: its name in `SPACINGS`.
        shift: of the noise levels.
    """

    solver: str
    spacing: str
    shift: float

    def schedule(self, num_steps: int, shift: float | None = None) -> Schedule:
        """The noise levels of so many steps; of another shift where it is given."""
        return SPACINGS[self.spacing](num_steps, self.shift if shift is None else shift)


SPACINGS: Mapping[str, Callable[[int, float], Schedule]] = MappingProxyType(
    {
        "original": flow_schedule,
        "diffusers_unipc": diffusers_unipc_schedule,
        "diffusers_euler": diffusers_euler_schedule,
    }
)
"""What makes the noise levels: the original's, and those of diffusers' schedulers."""

_FILE = Path("scheduler") / "scheduler_config.json"
# Of diffusers' classes: our solver, the spacing, what the shift is called, and options
# that are implemented with one value only.
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
_KNOWN: Mapping[str, tuple[str, str, str, Mapping[str, Any]]] = MappingProxyType(
    {
        "UniPCMultistepScheduler": (
            "unipc",
            "diffusers_unipc",
            "flow_shift",
            {
                **_FLOW,
                "solver_type": "bh2",
                "solver_order": 2,
                "predict_x0": True,
                "lower_order_final": True,
                "thresholding": False,
                "final_sigmas_type": "zero",
            },
        ),
        "FlowMatchEulerDiscreteScheduler": (
            "euler",
            "diffusers_euler",
            "shift",
            {
                "use_dynamic_shifting": False,
                "use_karras_sigmas": False,
                "use_exponential_sigmas": False,
                "use_beta_sigmas": False,
                "stochastic_sampling": False,
                "invert_sigmas": False,
            },
        ),
    }
)


def read_scheduler(folder: Path) -> Scheduler | None:
    """Reads ``scheduler/scheduler_config.json`` of a pipeline's folder.

    Args:
        folder: the pipeline's.

    Returns:
        What it asks for; None without the file.

    Raises:
        ValueError: if it is no JSON, or for a scheduler or an option that is not
            implemented.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    kind = str(options.get("_class_name") if isinstance(options, dict) else None)
    if kind not in _KNOWN:
        raise ValueError(f"{file}: {unknown_name('scheduler', kind, _KNOWN)}")
    solver, spacing, shift, fixed = _KNOWN[kind]
    for name, only in fixed.items():
        if options.get(name, only) != only:
            raise ValueError(
                f"{file}: {name} must be {only!r}, the only value that is implemented; "
                f"got {options[name]!r}"
            )
    return Scheduler(solver, spacing, float(options.get(shift, 1.0)))
