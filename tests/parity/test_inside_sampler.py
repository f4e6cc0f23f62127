"""Caches inside the network decide as the originals did, and give their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import Pipeline

from .inside import assert_signals, by_branch, parametrize_runs, recorded_runs
from .toy_run import (
    assert_close,
    cache_of,
    config_of,
    generations,
    load,
    run_toy,
    toy_of,
    toy_options,
    toy_weights,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, clean in (("reproduced", True), ("stale", False)):
        if name in metafunc.fixturenames:
            parametrize_runs(metafunc, name, clean)


def test_sampler_matches_original(reproduced: Path) -> None:
    """`sample` decides alike, step by step and branch by branch, with equal numbers."""
    name, settings, layout = cache_of(reproduced)
    arrays = load(reproduced)
    (steps,) = generations(reproduced)[:1]
    run = run_toy(reproduced, name, settings, layout, steps)
    stats = run.result.stats
    each = stats if arrays["computed"].ndim == 1 else stats.branches
    assert each is not None
    end = slice(steps.start, steps.stop + 1)
    assert np.asarray(each.computed).tolist() == arrays["computed"][steps].tolist()
    assert_close("x", run.x, arrays["x"][end])
    assert_close("velocity", run.velocity, arrays["velocity"][steps])
    assert_signals(reproduced, steps, np.asarray(each.signal))
    computed = np.asarray(stats.computed)
    assert stats.model_calls == computed.sum()
    assert by_branch(arrays["computed"][steps]).any(axis=1).tolist() == (
        computed.tolist()
    )


def test_each_generation_starts_clean(stale: Path) -> None:
    """Without a refresh in between, a second generation is as if sampled alone."""
    name, settings, layout = cache_of(stale)
    pipeline = Pipeline(
        toy_weights(stale),
        model=toy_of(config_of(stale)["dims"]["L"]),
        cache_backend=name,
        cache_config=settings,
    )
    arrays, first = load(stale), generations(stale)[0]
    for steps in generations(stale):
        after = pipeline(**toy_options(stale, layout, steps))
        alone = run_toy(stale, name, settings, layout, steps)
        for ours, theirs in zip(
            jax.tree.leaves(after), jax.tree.leaves(alone.result), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        computed = _computed(alone.result.stats, arrays["computed"].ndim)
        assert computed[0].all(), "something was left over from the generation before"
        assert not computed.all()
        if steps == first:
            assert computed.tolist() == arrays["computed"][steps].tolist()
            x = arrays["x"][steps]
            assert_close("x", alone.x[: len(x)], x)
            assert_close("velocity", alone.velocity, arrays["velocity"][steps])


def test_recorded_runs_reuse_and_compute(pytestconfig: pytest.Config) -> None:
    """The comparison is not an empty one: each cache skipped and computed."""
    ran: dict[str, list[np.ndarray]] = {}
    for file in recorded_runs(pytestconfig):
        ran.setdefault(config_of(file)["impl"], []).append(load(file)["computed"])
    if not ran:
        pytest.skip("no recorded run of a cache inside the network")
    for name, computed in ran.items():
        flat = np.concatenate([x.ravel() for x in computed])
        assert flat.any(), name
        assert not flat.all(), name


def _computed(stats: Any, ndim: int) -> np.ndarray:
    return np.asarray((stats if ndim == 1 else stats.branches).computed)
