"""Solver, schedule and training noise give the original's numbers."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Schedule, UniPC, flow_schedule, get_solver
from jax_stepcache.models.dreamzero.training.noise import training_noise
from jax_stepcache.solvers.base import row_of

from .cases import dreamzero_files, parametrize

TOLERANCE = 1e-4  # absolute, float32

_UNIPC = re.compile(r"unipc_(?P<steps>\d+)_(?P<shift>[\d.]+)(_dec(?P<final>[\d.]+))?$")
_FLOWMATCH = re.compile(r"flowmatch_(?P<levels>train|\d+)$")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = "unipc" if "unipc" in metafunc.fixturenames else "flowmatch"
    wanted = _UNIPC if name == "unipc" else _FLOWMATCH
    cases, ids = [], []
    for file in dreamzero_files(metafunc.config, "schedulers*.npz"):
        with np.load(file) as recorded:
            groups = sorted({key.split("/")[0] for key in recorded.files})
        unknown = [g for g in groups if not (_UNIPC.match(g) or _FLOWMATCH.match(g))]
        if unknown:
            raise pytest.UsageError(f"{file} has cases of no known kind: {unknown}")
        chosen = [group for group in groups if wanted.match(group)]
        cases += [(file, group) for group in chosen]
        ids += [f"dreamzero-{file.name}-{group}" for group in chosen]
    parametrize(metafunc, ("file", name), cases, ids)


def test_unipc_matches_original(file: Path, unipc: str) -> None:
    """Timesteps are the original's; so are sigmas and, fed its velocities, samples."""
    recorded = _arrays(file, unipc)
    settings = _UNIPC.match(unipc)
    assert settings is not None
    final = settings["final"] and float(settings["final"])
    schedule = flow_schedule(int(settings["steps"]), float(settings["shift"]), final)

    assert list(schedule.timesteps) == recorded["timesteps"].tolist()
    _assert_close("sigmas", schedule.sigmas, recorded["sigmas"])
    velocities = _numbered(recorded, "v")
    samples = _numbered(recorded, "x")
    assert len(velocities) == schedule.num_steps == len(samples) - 1
    stepped = _follow(schedule, samples[0], velocities)
    for i, sample in enumerate(stepped, start=1):
        _assert_close(f"x{i}", sample, samples[i])


def test_training_noise_matches_original(file: Path, flowmatch: str) -> None:
    """The levels, timesteps and loss weights of training are the original's."""
    recorded = _arrays(file, flowmatch)
    noise = training_noise(len(recorded["sigmas"]), shift=5.0)
    for name, values in recorded.items():
        _assert_close(name, getattr(noise, name), values)


def _follow(
    schedule: Schedule, first: np.ndarray, velocities: np.ndarray
) -> np.ndarray:
    """The samples after each step of a compiled loop over given velocities."""
    solver = get_solver("unipc")
    assert isinstance(solver, UniPC)
    tables = solver.tables(schedule.sigmas)

    @jax.jit
    def run(first: jax.Array, velocities: jax.Array) -> jax.Array:
        def step(carry, i):
            sample, state = carry
            row = row_of(tables, i)
            sample, state = solver.step(row, state, sample, velocities[i])
            return (sample, state), sample

        start = (first, solver.init(first))
        return jax.lax.scan(step, start, jnp.arange(schedule.num_steps))[1]

    return np.asarray(run(jnp.asarray(first), jnp.asarray(velocities)))


def _arrays(file: Path, group: str) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return {
            name.removeprefix(f"{group}/"): arrays[name]
            for name in arrays.files
            if name.startswith(f"{group}/")
        }


def _numbered(arrays: dict[str, np.ndarray], letter: str) -> np.ndarray:
    """The arrays ``<letter>0``, ``<letter>1``, ... stacked."""
    names = sorted(
        (name for name in arrays if re.fullmatch(rf"{letter}\d+", name)),
        key=lambda name: int(name[1:]),
    )
    return np.stack([arrays[name] for name in names])


def _assert_close(what: str, ours: object, theirs: np.ndarray) -> None:
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, what
    error = np.max(np.abs(ours - theirs))
    assert error <= TOLERANCE, f"{what}: max error {error:.2e}"
