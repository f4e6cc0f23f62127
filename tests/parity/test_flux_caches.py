"""Caches on FLUX's loops decide and sample as the originals, branch by branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache.policy.gates.accumulate import AccumulateState
from jax_stepcache.policy.named.mag_cache_original import walked_curve

from . import flux_run
from . import recorded_flux as recorded
from .flux_settings import options_of
from .recorded_wan import assert_close


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
    _check_blocks(loop, options, computed.reshape(len(computed), -1), steps)
    _check_differences(loop, options, result.stats, steps)
    _check_what_adds_up(loop, options, steps)


def _check_blocks(
    loop: flux_run.Loop, options: Any, computed: np.ndarray, steps: Any
) -> None:
    """The blocks that the decisions run are those that ran there."""
    config = options["cache_config"]
    if config.get("block_lists") == "each":
        parts = [
            _runs_of(config, _ran(memory), blocks)
            for (_, memory), blocks in zip(
                steps.seen, loop.params.model.block_lists, strict=True
            )
        ]
        runs = np.concatenate(parts, axis=2)
        for name in ("blocks_run", "attention_run"):
            assert runs.tolist() == loop.arrays[name].astype(bool).tolist(), name
        return
    count = loop.params.model.num_blocks
    if options["cache"] == "first_block_cache":
        config = {"Fn_compute_blocks": 1}
    runs = _runs_of(config, computed, count)
    attentions = runs
    if options["cache_config"].get("attention_only"):
        runs = np.ones_like(runs)
    for ours, name in ((runs, "blocks_run"), (attentions, "attention_run")):
        assert ours.astype(int).tolist() == loop.arrays[name].astype(int).tolist(), name


def _runs_of(config: Any, computed: np.ndarray, count: int) -> np.ndarray:
    """Which of so many blocks run, bool[steps, branches, blocks]."""
    runs = np.repeat(computed[:, :, None], count, axis=2)
    first, last = (config.get(f"{n}_compute_blocks", 0) for n in ("Fn", "Bn"))
    runs[:, :, :first] = runs[:, :, count - last :] = True
    return runs


def _ran(memory: Any) -> np.ndarray:
    """The steps at which a list was computed, bool[steps, 1]: it records only there."""
    leaves = [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(memory)]
    changed = [(x[1:] != x[:-1]).any(axis=1) for x in leaves]
    return np.concatenate([[True], np.any(changed, axis=0)])[:, None]


def _check_differences(
    loop: flux_run.Loop, options: Any, stats: Any, steps: Any
) -> None:
    """What the gate compared is what cache-dit wrote down."""
    told = loop.settings.get("stats")
    if not told:
        return
    if options["cache_config"].get("block_lists") == "each":
        # The signal told is that of the first list; cache-dit has them in any order.
        skipped = np.flatnonzero(~_ran(steps.seen[0][1])).tolist()
        told = [one for one in told if one["cached_steps"] == skipped]
    signals = np.asarray(stats.signal)[:, None]
    if stats.branches is not None:
        signals = np.asarray(stats.branches.signal)
    compared = 0
    for one in told:
        for branch, name in enumerate(("residual_diffs", "cfg_residual_diffs")):
            for step, theirs in one[name].items():
                ours = signals[int(step), branch]
                # Where skips are used up, the library does not look.
                if not np.isnan(ours):
                    assert ours == pytest.approx(theirs, abs=1e-4), (name, step)
                    compared += 1
    assert compared


def _adds_up(part: Any) -> bool:
    return isinstance(part, AccumulateState)


def _check_what_adds_up(loop: flux_run.Loop, options: Any, steps: Any) -> None:
    """The originals' accumulators after each step."""
    arrays, config = loop.arrays, options["cache_config"]
    if "after/accumulated_rel_l1_distance" in arrays:
        parts = jax.tree.leaves(steps.seen, is_leaf=_adds_up)
        (gate,) = filter(_adds_up, parts)
        theirs = arrays["after/accumulated_rel_l1_distance"]
        assert_close("total", np.ravel(gate.total), theirs, 1e-4)
    if "after/accumulated_err" in arrays:
        walked = walked_curve(
            np.asarray(config["mag_ratios"], np.float64),
            config["mag_threshold"],
            config["mag_max_skip_steps"],
            config["mag_retention_ratio"],
            len(steps.sample),
            11,
        )
        assert_close("error", walked.error, arrays["after/accumulated_err"], 1e-6)
        assert_close("ratio", walked.ratio, arrays["after/accumulated_ratio"], 1e-6)
