"""DBPrune skips the blocks that cache-dit's skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .cases import parametrize, pruning_files
from .inside import assert_signals
from .toy_run import assert_close, cache_of, load, run_toy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pruned" in metafunc.fixturenames:
        files = pruning_files(metafunc.config)
        parametrize(metafunc, "pruned", files, [file.stem for file in files])


def test_the_same_blocks_are_skipped(pruned: Path) -> None:
    """Of each step the same blocks run, by the same changes, to the same sample."""
    arrays = load(pruned)
    name, settings, _ = cache_of(pruned)
    run = run_toy(pruned, name, settings)
    blocks = run.result.stats.blocks
    assert blocks is not None
    assert np.asarray(blocks.computed).tolist() == arrays["computed"].tolist()
    assert not arrays["computed"].all()
    assert_signals(pruned, slice(0, len(arrays["x"])), np.asarray(blocks.signal))
    assert_close("velocity", run.velocity, arrays["velocity"])
    assert_close("x", run.x, arrays["x"])
