"""Solvers step as diffusers' do, along recorded trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    DPMSolver,
    DPMSolverSDE,
    EulerAncestral,
    ays_schedule,
    get_solver,
    shift_for_tokens,
)
from jax_stepcache.solvers.base import begin_outputs, row_of
from jax_stepcache.solvers.named_schedules import get_schedule
from jax_stepcache.solvers.stochastic import Stochastic

from .cases import parametrize, solvers_files

TOLERANCE = 1e-4  # absolute, float32

_AYS = {
    "StableDiffusion": "sd",
    "StableDiffusionXL": "sdxl",
    "StableDiffusionVideo": "svd",
}
_MADE: dict[str, Any] = {
    "dpm++_2m_heun": DPMSolver(2, "heun"),
    "dpm++_2m_sde_heun": DPMSolverSDE(2, "heun"),
    "euler_ancestral_half": EulerAncestral(0.5),
}


class Case(NamedTuple):
    """A solver and a number of steps in a file."""

    file: Path
    solver: str
    steps: str

    def array(self, part: str) -> np.ndarray:
        with np.load(self.file) as arrays:
            return arrays[f"{self.solver}/{self.steps}/{part}"]

    @property
    def noises(self) -> np.ndarray:
        with np.load(self.file) as arrays:
            name = f"{self.solver}/{self.steps}/z"
            return arrays[name] if name in arrays.files else np.zeros(0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases, levels = [], []
    for file in solvers_files(metafunc.config):
        with np.load(file) as recorded:
            names = [name.split("/") for name in recorded.files]
        levels += [(file, name[1]) for name in names if name[0] == "schedule"]
        cases += sorted({Case(file, *name[:2]) for name in names if len(name) == 3})
    if "levels" in metafunc.fixturenames:
        ids = [f"{file.stem}-{name}" for file, name in levels]
        kinds = [name.partition("_")[0] for _, name in levels]
        parametrize(metafunc, ("file", "levels"), levels, ids, kinds)
        return
    ids = [f"{case.file.stem}-{case.solver}-{case.steps}" for case in cases]
    parametrize(metafunc, "case", cases, ids, [case.solver for case in cases])


def test_samples_are_the_originals(case: Case) -> None:
    """Fed the original's velocities and noises, every sample on the way is its own."""
    solver = _MADE.get(case.solver) or get_solver(case.solver)
    sigmas, velocities, wanted = (case.array(part) for part in ("sigmas", "v", "x"))
    noises = jnp.asarray(case.noises)
    tables = solver.tables(sigmas.astype(np.float64).tolist())

    @jax.jit
    def run(first: jax.Array, velocities: jax.Array) -> jax.Array:
        def step(carry, i):
            sample, state = carry
            row = row_of(tables, i)
            given = row, state, sample, velocities[i]
            if isinstance(solver, Stochastic):
                sample, state = solver.step_with(*given, noises[i])
            else:
                sample, state = solver.step(*given)
            return (sample, state), sample

        start = (first, *begin_outputs(solver, [first], jnp.zeros((1, 2), jnp.uint32)))
        return jax.lax.scan(step, start, jnp.arange(len(velocities)))[1]

    given = np.asarray(run(jnp.asarray(wanted[0]), jnp.asarray(velocities)))
    assert given.shape == wanted[1:].shape
    error = np.abs(given - wanted[1:]).max()
    assert error <= TOLERANCE, f"max error {error:.2e}"


def test_levels_are_the_originals(file: Path, levels: str) -> None:
    """Named schedules have the noise levels of diffusers'."""
    with np.load(file) as arrays:
        wanted = arrays[f"schedule/{levels}"]
    kind, _, detail = levels.partition("_")
    if kind == "ays":
        given = ays_schedule(10, _AYS[detail.removesuffix("Sigmas")]).sigmas
        wanted = wanted / (1 + wanted)
    elif kind == "tokens":
        # The original's even levels have other ends.
        even, shift = np.linspace(1, 0, 7), shift_for_tokens(int(detail))
        given = shift * even / (1 + (shift - 1) * even)
    else:
        given = get_schedule(kind, int(detail)).sigmas
    np.testing.assert_allclose(given, wanted, atol=1e-6)
