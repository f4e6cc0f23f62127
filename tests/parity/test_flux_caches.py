"""Caches on FLUX's loops decide and sample as the originals, branch by branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import flux_run
from . import recorded_flux as recorded
from .flux_settings import options_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "cache_*.npz", kinds="cache")


def test_cache_decides_as_the_original(file: Path) -> None:
    """Every decision of each branch, which blocks that runs, and every sample."""
    loop = flux_run.load(file)
    options = options_of(loop)
    result, steps = flux_run.run(loop, **options)
    computed = np.asarray(result.stats.computed)
    if result.stats.branches is not None:
        computed = np.asarray(result.stats.branches.computed)
    wanted = loop.arrays["computed"]
    assert computed.astype(int).tolist() == wanted.astype(int).tolist()
    assert not computed.all()
    assert computed.any()
    flux_run.check(loop, result, steps)
    _check_blocks(loop, options, computed.reshape(len(computed), -1))


def _check_blocks(loop: flux_run.Loop, options: Any, computed: np.ndarray) -> None:
    """The blocks that the decisions run are those that ran there."""
    config = options["cache_config"]
    if config.get("block_lists") == "each":
        return  # There the decisions of both lists are told as one.
    count = loop.params.model.num_blocks
    runs = np.repeat(computed[:, :, None], count, axis=2)
    first = config.get("Fn_compute_blocks", 0)
    if options["cache"] == "first_block_cache":
        first = 1
    last = config.get("Bn_compute_blocks", 0)
    runs[:, :, :first] = runs[:, :, count - last :] = True
    attentions = runs
    if config.get("attention_only"):
        runs = np.ones_like(runs)
    for ours, name in ((runs, "blocks_run"), (attentions, "attention_run")):
        assert ours.astype(int).tolist() == loop.arrays[name].astype(int).tolist(), name
