"""Whole loops of FLUX, without a cache, are diffusers' and the original's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
    flux_run.check(loop, result, steps)
    made = loop.params.model.schedule(len(loop.arrays["v"]))
    levels = np.float32(loop.schedule.sigmas)
    assert_close("sigmas", np.float32(made.sigmas), levels, 2e-7)
