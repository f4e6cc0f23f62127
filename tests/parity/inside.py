"""Recorded runs of the caches inside the network: which there are, what they decided.

Recorded files whose original went through two generations without a refresh carried its
state over; here every generation starts clean, and that is what is tested with them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .cases import caches_files, parametrize
from .toy_run import TOLERANCE, config_of, generations, guidance_of, load


def parametrize_runs(metafunc: pytest.Metafunc, name: str, clean: bool) -> None:
    """Makes a test of each run; of each cache, the first one is quick.

    Args:
        metafunc: the test function.
        name: of its argument, a file.
        clean: whether the runs are those that had nothing left over, or the others.
    """
    files = [f for f in recorded_runs(metafunc.config) if is_clean(f) == clean]
    ids = [f"caches-{file.name}" for file in files]
    kinds = [
        config_of(file).get("db", {}).get("calibrator_type", config_of(file)["impl"])
        for file in files
    ]
    parametrize(metafunc, name, files, ids, kinds)


def recorded_runs(config: pytest.Config) -> list[Path]:
    """The files of all caches but StepCache, which has its own tests."""
    files = caches_files(config, "*.npz")
    return [file for file in files if not file.name.startswith("stepcache_")]


def is_clean(file: Path) -> bool:
    """Whether the original had nothing left over from a generation before."""
    return len(generations(file)) == 1 or config_of(file).get("reset_between", False)


def count_branches(file: Path) -> int:
    return 1 if guidance_of(file) == 1 else 2


def by_branch(computed: np.ndarray) -> np.ndarray:
    """bool[steps, branches]; one branch where they do not decide apart."""
    return computed.reshape(len(computed), -1)


def assert_signals(file: Path, steps: slice, ours: np.ndarray) -> None:
    """Equal where both looked. cache-dit records -1 where it did not need to."""
    theirs = load(file)["signal"][steps]
    assert ours.shape == theirs.shape
    both = ~np.isnan(ours) & ~np.isnan(theirs) & (theirs != -1)
    assert both.any() or not (theirs > 0).any(), "no signal was compared"
    difference = np.abs(ours - theirs)[both]
    assert (difference <= TOLERANCE).all(), f"signal: max error {difference.max():.2e}"
