"""Whole loops of FLUX, without a cache, are diffusers' and the original's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jax_stepcache.models.flux.network.packing import grid_of, packed
from jax_stepcache.models.flux.network.streams import ids

from . import flux_run
from . import recorded_flux as recorded
from .recorded_wan import assert_close


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "loop_*.npz", kinds="loop")


def test_loop_is_the_originals(file: Path) -> None:
    """Each sample and velocity, with embedded guidance, true guidance or none."""
    loop = flux_run.load(file)
    result, steps = flux_run.run(loop)
    assert np.asarray(result.stats.computed).all()
    for name in ("computed", "blocks_run", "attention_run"):
        assert loop.arrays.get(name, np.array(True)).all()
    flux_run.check(loop, result, steps)
    made = loop.params.model.schedule(len(loop.arrays["v"]))
    levels = np.float32(loop.schedule.sigmas)
    assert_close("sigmas", np.float32(made.sigmas), levels, 2e-7)
    noise = loop.arrays["in/noise_unpacked"]
    if "in/img" in loop.arrays:
        np.testing.assert_array_equal(packed(noise), loop.arrays["in/img"])
        text = loop.arrays["in/txt"].shape[1]
        both = [loop.arrays[f"in/{name}_ids"] for name in ("txt", "img")]
        for one in np.concatenate(both, axis=1):
            np.testing.assert_array_equal(ids(grid_of(noise.shape), text), one)
