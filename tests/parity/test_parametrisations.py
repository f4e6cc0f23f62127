"""Networks that say noise, clean samples or mixtures are sampled as diffusers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import EDMDiffusion, VPDiffusion, sample

from .cases import parametrize, solvers_files

TOLERANCE = 1e-4  # absolute, float32


def _clean(x: jax.Array, alpha: jax.Array, s: jax.Array) -> jax.Array:
    """The recorded data's mean where ``alpha * x0 + s * noise`` is x."""
    means = jnp.array([-1.0, 1.0])
    alpha, s = alpha[:, None, None], s[:, None, None]
    variance = (0.3 * alpha) ** 2 + s**2
    apart = x[..., None] - alpha * means
    chance = jax.nn.softmax(-(apart**2) / (2 * variance), axis=-1)
    return (chance * (means + alpha * 0.09 * apart / variance)).sum(-1)


def _says(noising: VPDiffusion, predicts: str) -> Any:
    def network(params: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
        levels = noising.levels(t)
        alpha, s = (level[:, None] for level in levels)
        x0 = _clean(x, *levels)
        noise = (x - alpha * x0) / s
        said = {"epsilon": noise, "sample": x0}
        return said.get(predicts, alpha * noise - s * x0)

    return network


def _edm(params: Any, seen: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
    sigma = jnp.exp(4 * t)
    whole = (sigma**2 + 0.25)[:, None]
    x = seen * jnp.sqrt(whole)
    x0 = _clean(x, jnp.ones_like(sigma), sigma)
    return (x0 - 0.25 / whole * x) / (sigma[:, None] * 0.5 / jnp.sqrt(whole))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = []
    for file in solvers_files(metafunc.config):
        with np.load(file) as recorded:
            names = [name.split("/") for name in recorded.files]
        runs = sorted({tuple(one[1::2]) for one in names if one[0] == "network"})
        cases += [(file, name, steps) for name, steps in runs]
    ids = [f"{file.stem}-{name}-{steps}" for file, name, steps in cases]
    parametrize(metafunc, ("file", "name", "steps"), cases, ids)


def test_samples_are_the_originals(file: Path, name: str, steps: str) -> None:
    """Told the same and started alike, the sample is the original's."""
    with np.load(file) as arrays:
        told, x = (arrays[f"network/{name}/{part}/{steps}"] for part in "tx")
    noising: Any
    if name == "edm":
        noising, spread = EDMDiffusion(), np.hypot(1, 80)
        schedule, denoiser = noising.schedule(int(steps)), noising.denoiser(_edm)
    else:
        predicts, spacing, betas = name.split("-")
        noising, spread = VPDiffusion(betas), 1.0
        schedule = noising.schedule(int(steps), spacing)
        denoiser = noising.denoiser(_says(noising, predicts), predicts)
    np.testing.assert_allclose(schedule.timesteps, told, rtol=1e-5)
    noise = noising.start(jnp.asarray(x[0] / spread), schedule)
    given = sample(
        None, model=denoiser, noise=noise, schedule=schedule, solver="dpm++_2m"
    )
    error = np.abs(given.sample - x[-1]).max()
    assert error <= TOLERANCE, f"max error {error:.2e}"
