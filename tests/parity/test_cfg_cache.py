"""CFG-Cache leaves the unconditional branch out where diffusers' FasterCache did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .cases import guidance_files, parametrize
from .toy_run import assert_close, config_of, load, run_toy

_SETTINGS = (
    "unconditional_batch_skip_range",
    "unconditional_batch_timestep_skip_range",
    "alpha_low_frequency",
    "alpha_high_frequency",
    "low_frequency_weight_update_timestep_range",
    "high_frequency_weight_update_timestep_range",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "guided" in metafunc.fixturenames:
        files = guidance_files(metafunc.config)
        parametrize(metafunc, "guided", files, [file.stem for file in files])


def test_the_unconditional_branch_is_asked_as_recorded(guided: Path) -> None:
    """The same steps ask it, and all samples and velocities are those recorded."""
    arrays, config = load(guided), config_of(guided)
    settings: dict[str, Any] = {n: config[n] for n in _SETTINGS if n in config}
    layout = tuple(config.get("layout", ()))
    run = run_toy(guided, "cfg_cache", settings, layout)
    branches = run.result.stats.branches
    assert branches is not None
    assert np.asarray(branches.computed).tolist() == arrays["computed"].tolist()
    assert not arrays["computed"].all()
    assert_close("velocity", run.velocity, arrays["velocity"])
    assert_close("x", run.x, arrays["x"])
