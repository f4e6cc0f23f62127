"""Whole loops of Wan, without a cache, are diffusers' and the originals'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import recorded_wan as recorded
from . import wan_run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "loop_*.npz", kinds="loop")


def test_loop_is_the_originals(file: Path) -> None:
    """Each sample and velocity, by the expert that the original asks."""
    loop = wan_run.load(file)
    boundary = loop.params.model.experts.boundary
    experts = np.asarray(loop.arrays["timesteps"]) < boundary
    assert experts.tolist() == loop.arrays["expert"].astype(bool).tolist()
    result, steps = wan_run.run(loop)
    assert np.asarray(result.stats.computed).all()
    wan_run.check(loop, result, steps)
