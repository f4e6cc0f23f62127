"""Caches on Wan's loops decide and sample as the originals, branch by branch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import recorded_wan as recorded
from . import wan_run
from .wan_settings import options_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "cache_*.npz", kinds="cache")


def test_cache_decides_as_the_original(file: Path) -> None:
    """Every decision of each branch, every sample, and by the right expert."""
    loop = wan_run.load(file)
    result, steps = wan_run.run(loop, **options_of(loop))
    computed = np.asarray(result.stats.computed)
    wanted = loop.arrays["computed"]
    if result.stats.branches is not None:
        computed = np.asarray(result.stats.branches.computed)
    if wanted.ndim > computed.ndim:
        computed = np.repeat(computed[:, None], wanted.shape[1], axis=1)
    assert computed.astype(int).tolist() == wanted.astype(int).tolist()
    wan_run.check(loop, result, steps)
