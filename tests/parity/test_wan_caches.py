"""Caches on Wan's loops decide and sample as the originals, branch by branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jax_stepcache.policy.named.mag_cache import resampled_ratios

from . import recorded_wan as recorded
from . import wan_run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "cache_*.npz", kinds="cache")


def test_cache_decides_as_the_original(file: Path) -> None:
    """Every decision of each branch, every sample, and by the right expert."""
    loop = wan_run.load(file)
    given = dict(loop.settings.get("cache", {}))
    options = _options(given.pop("kind", ""), given, loop)
    result, steps = wan_run.run(loop, **options)
    computed = np.asarray(result.stats.computed)
    wanted = loop.arrays["computed"]
    if result.stats.branches is not None:
        computed = np.asarray(result.stats.branches.computed)
    if wanted.ndim > computed.ndim:
        computed = np.repeat(computed[:, None], wanted.shape[1], axis=1)
    assert computed.astype(int).tolist() == wanted.astype(int).tolist()
    wan_run.check(loop, result, steps)


def _options(  # noqa: PLR0911
    kind: str, given: dict[str, Any], loop: wan_run.Loop
) -> dict[str, Any]:
    """The library's cache and settings for the original's."""
    steps = len(loop.velocities)
    if not kind or kind.startswith("diffusers TaylorSeer, its default"):
        return {}
    if kind.startswith("vLLM-Omni StepCache"):
        names = {
            "sim_thresholds": "velocity_sim_thresholds",
            "skip_countdowns": "velocity_skip_countdowns",
        }
        return _named("step_cache", {names[name]: x for name, x in given.items()})
    if kind.startswith("cache-dit DBCache"):
        if "taylorseer_order" in given:
            given["enable_taylorseer"] = True
        each = given.pop("per_expert", None)
        if each is not None:
            given |= dict(zip(("high", "low"), each, strict=True))
        return _named("cache_dit", given)
    if kind.startswith("diffusers FirstBlockCache"):
        return _named("first_block_cache", given)
    if kind.startswith("diffusers SeaCache"):
        names = {
            "threshold": "sea_threshold",
            "residual_order": "sea_residual_order",
            "max_consecutive_cached": "sea_max_consecutive_cached",
            "power_exp": "sea_power_exp",
        }
        return _named("sea_cache", {names[name]: x for name, x in given.items()})
    if kind.startswith("diffusers MagCache"):
        ratios = np.float32(given["mag_ratios"])
        return _named(
            "mag_cache",
            {
                "mag_ratios": resampled_ratios(ratios, steps),
                "mag_threshold": given["threshold"],
                "mag_max_skip_steps": given["max_skip_steps"],
                "mag_retention_ratio": given["retention_ratio"],
            },
        )
    if kind.startswith("diffusers TaylorSeer lite"):
        del given["taylor_factors_dtype"]
        return _named("taylor_seer", {**given, "use_lite_mode": True})
    if kind.startswith("TeaCache4Wan2.1"):
        given["rel_l1_thresh"] = given.pop("teacache_thresh")
        return _named("tea_cache", {**given, "original": True})
    if kind.startswith("MagCache4Wan2"):
        two = len(loop.settings["models"]) > 1
        return _named(
            "mag_cache",
            {
                "original": True,
                "mag_ratios": given["mag_ratios"],
                "mag_threshold": given["magcache_thresh"],
                "mag_max_skip_steps": given["K"],
                "mag_retention_ratio": given["retention_ratio"],
                "mag_split_step": int((loop.arrays["expert"] == 0).sum())
                if two
                else None,
            },
        )
    raise pytest.UsageError(f"{kind!r} is no cache that is known: {given}")


def _named(cache: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"cache": cache, "cache_config": settings}
