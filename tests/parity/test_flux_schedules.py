"""FLUX's noise levels, and what its network is told of them, are the originals'."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.flux.times import (
    flux_schedule,
    guidance_told,
    shift_of,
    told,
)

from . import recorded_flux as recorded
from .cases import parametrize
from .recorded_wan import assert_close


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "levels" not in metafunc.fixturenames:
        recorded.cases(metafunc, "schedules.npz")
        return
    cases, ids = [], []
    for file in recorded.files(metafunc.config, "schedules.npz"):
        arrays, _ = recorded.load(file)
        found = {k.rsplit("/", 1)[0] for k in arrays if not k.startswith("bf16")}
        cases += [(file, one) for one in sorted(found)]
        ids += [f"flux-{one}" for one in sorted(found)]
    parametrize(
        metafunc, ("file", "levels"), cases, ids, [i.split("_")[0] for i in ids]
    )


def test_levels_are_the_originals(file: Path, levels: str) -> None:
    """Of both codes, with the shift by the number of tokens or without."""
    arrays, _ = recorded.load(file)
    kind, *rest = levels.removesuffix("/").split("_")
    steps = int(rest[-1].removeprefix("n"))
    tokens = int(rest[0].removeprefix("seq")) if kind == "dev" else None
    made = flux_schedule(steps, tokens)
    sigmas = np.float32(made.sigmas)
    assert_close("sigmas", sigmas, arrays[f"{levels}/sigmas"], 2e-7)
    assert_close("original", sigmas, arrays[f"{levels}/bfl_timesteps"], 2e-7)
    times = np.float32(made.timesteps)
    assert_close("timesteps", times / 1000, arrays[f"{levels}/timesteps"] / 1000, 2e-7)
    if tokens is not None:
        assert shift_of(tokens) == pytest.approx(float(arrays[f"{levels}/mu"]))


def test_what_the_network_is_told_rounds_as_theirs(file: Path) -> None:
    """In bfloat16 each of the two codes rounds in places of its own."""
    arrays, _ = recorded.load(file)
    t = jnp.asarray(flux_schedule(28, 4096).timesteps, jnp.float32)
    for original, name in ((False, "diffusers"), (True, "bfl")):
        made = np.asarray(told(t, jnp.bfloat16, original), np.float32)
        wanted = arrays[f"bf16/{name}_embedded"]
        np.testing.assert_array_equal(made, wanted.astype(np.float32))
    scales = jnp.asarray(arrays["bf16/guidance"], jnp.float32)
    made = np.asarray(guidance_told(scales, jnp.bfloat16), np.float32)
    np.testing.assert_array_equal(made, arrays["bf16/guidance_embedded"])
