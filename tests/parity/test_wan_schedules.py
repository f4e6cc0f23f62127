"""The lists of noise levels, the experts' steps and the solvers are the originals'."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Schedule,
    diffusers_euler_schedule,
    diffusers_unipc_schedule,
    flow_schedule,
    get_solver,
)
from jax_stepcache.models.wan import RELEASES
from jax_stepcache.solvers.base import row_of

from . import recorded_wan as recorded
from .cases import parametrize

_MADE_BY = {
    "diffusers_unipc": diffusers_unipc_schedule,
    "diffusers_euler": diffusers_euler_schedule,
    "original_unipc": flow_schedule,
}
_EXPERTS = {"t2v": "wan2.2-t2v-a14b", "i2v": "wan2.2-i2v-a14b"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = {"levels": tuple(_MADE_BY), "experts": ("experts",), "solver": ("solver",)}
    name = next(one for one in wanted if one in metafunc.fixturenames)
    cases, ids = [], []
    for file in recorded.files(metafunc.config, "schedules.npz"):
        arrays, _ = recorded.load(file)
        found = {k.rsplit("/", 1)[0] for k in arrays if k.startswith(wanted[name])}
        cases += [(file, one) for one in sorted(found)]
        ids += [f"wan-{one}" for one in sorted(found)]
    # There is little in each, but there are many.
    parametrize(metafunc, ("file", name), cases, ids, [i.split("_")[0] for i in ids])


def test_levels_are_the_originals(file: Path, levels: str) -> None:
    """Timesteps are exact, noise levels to a rounding of float32."""
    arrays, _ = recorded.load(file)
    kind, setting = levels.split("/")
    schedule = _made(kind, setting)
    recorded.assert_close(
        "sigmas", np.float32(schedule.sigmas), arrays[f"{levels}/sigmas"], 1e-7
    )
    times = np.float32(schedule.timesteps)
    assert times.tolist() == arrays[f"{levels}/timesteps"].tolist()


def test_high_noise_steps_are_the_originals(file: Path, experts: str) -> None:
    """The high-noise expert has as many steps as there, by both lists."""
    arrays, _ = recorded.load(file)
    _, task, setting = experts.split("/")
    boundary = RELEASES[_EXPERTS[task]].boundary_ratio
    assert boundary is not None
    for whose, kind in (("diffusers", "diffusers_unipc"), ("original",) * 2):
        times = np.array(_made(kind, setting).timesteps)
        steps = int((times >= boundary * 1000).sum())
        assert steps == arrays[f"{experts}/{whose}_high_steps"], whose


def test_solver_steps_as_the_original(file: Path, solver: str) -> None:
    """Fed the recorded velocities, it takes the recorded steps."""
    arrays, _ = recorded.load(file)
    x, v = arrays[f"{solver}/x"], arrays[f"{solver}/v"]
    name = "euler" if "euler" in solver else "unipc"
    schedule = _made(*_parts(solver))
    recorded.assert_close(
        "sigmas", np.float32(schedule.sigmas), arrays[f"{solver}/sigmas"], 1e-7
    )
    stepper = get_solver(name)
    tables = stepper.tables(schedule.sigmas)
    sample, state = jnp.asarray(x[0]), stepper.init(jnp.asarray(x[0]))
    for i, velocity in enumerate(v):
        row = row_of(tables, jnp.asarray(i))
        sample, state = stepper.step(row, state, sample, jnp.asarray(velocity))
        recorded.assert_close(f"x[{i + 1}]", sample, x[i + 1], 1e-4)


def _parts(solver: str) -> tuple[str, str]:
    """Its kind, and shift and steps."""
    kind, shift, steps = solver.split("/")[1].rsplit("_", 2)
    return kind, f"{shift}_{steps}"


def _made(kind: str, setting: str) -> Schedule:
    shift, steps = setting.split("_")
    made_by = _MADE_BY["original_unipc" if kind == "original" else kind]
    return made_by(int(steps), float(shift))
