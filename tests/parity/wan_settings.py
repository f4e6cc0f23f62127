"""The library's caches and settings for those of the originals around Wan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from jax_stepcache.policy.named.mag_cache import resampled_ratios

from .wan_run import Loop

Settings = dict[str, Any]


def options_of(loop: Loop) -> Settings:
    """What `sample` is asked with for a loop's cache."""
    given = dict(loop.settings.get("cache", {}))
    kind = given.pop("kind", "")
    if not kind:
        return {}
    for beginning, make in _KINDS.items():
        if kind.startswith(beginning):
            return make(kind, given, loop)
    raise pytest.UsageError(f"{kind!r} is no cache that is known: {given}")


def _named(cache: str, names: Mapping[str, str]) -> Callable[..., Settings]:
    """A cache whose settings have other names, or the same."""

    def make(kind: str, given: Settings, loop: Loop) -> Settings:
        del kind, loop
        settings = {names.get(name, name): x for name, x in given.items()}
        return {"cache": cache, "cache_config": settings}

    return make


def _nothing(kind: str, given: Settings, loop: Loop) -> Settings:
    """diffusers' patterns match no module of Wan, so nothing is cached."""
    del kind, given, loop
    return {}


def _db_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    each = given.pop("per_expert", None)
    if each is not None:
        given |= dict(zip(("high", "low"), each, strict=True))
    if "taylorseer_order" in given:
        given["enable_taylorseer"] = True
    return _named("cache_dit", _MASKS)(kind, given, loop)


def _diffusers_mag_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    ratios = resampled_ratios(np.float32(given["mag_ratios"]), len(loop.velocities))
    names = {
        "threshold": "mag_threshold",
        "max_skip_steps": "mag_max_skip_steps",
        "retention_ratio": "mag_retention_ratio",
    }
    return _named("mag_cache", names)(kind, {**given, "mag_ratios": ratios}, loop)


def _lite(kind: str, given: Settings, loop: Loop) -> Settings:
    given.pop("taylor_factors_dtype", None)
    return _named("taylor_seer", {})(kind, {**given, "use_lite_mode": True}, loop)


def _tea_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    names = {"teacache_thresh": "rel_l1_thresh"}
    return _named("tea_cache", names)(kind, {**given, "original": True}, loop)


def _mag_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    given.pop("model", None)
    given["original"] = True
    if len(loop.settings["models"]) > 1:
        given["mag_split_step"] = int((loop.arrays["expert"] == 0).sum())
        given["mag_spares_high"] = "i2v" in kind.lower()
    names = {
        "magcache_thresh": "mag_threshold",
        "K": "mag_max_skip_steps",
        "retention_ratio": "mag_retention_ratio",
    }
    return _named("mag_cache", names)(kind, given, loop)


# cache-dit's names for what vLLM-Omni, and this library, call otherwise.
_MASKS = {
    "steps_computation_mask": "steps_mask",
    "steps_computation_policy": "scm_steps_policy",
}

# By how their descriptions begin; the first that fits.
_KINDS: Mapping[str, Callable[..., Settings]] = {
    "vLLM-Omni StepCache": _named(
        "step_cache",
        {
            "sim_thresholds": "velocity_sim_thresholds",
            "skip_countdowns": "velocity_skip_countdowns",
            "min_history_steps": "step_cache_dit_min_history",
            "max_history": "step_cache_dit_max_history",
        },
    ),
    "cache-dit DBCache": _db_cache,
    "diffusers FirstBlockCache": _named("first_block_cache", {}),
    "diffusers SeaCache": _named(
        "sea_cache",
        {
            "threshold": "sea_threshold",
            "residual_order": "sea_residual_order",
            "max_consecutive_cached": "sea_max_consecutive_cached",
            "power_exp": "sea_power_exp",
            "retention_steps": "sea_retention_steps",
            "cache_end_steps": "sea_cache_end_steps",
        },
    ),
    "diffusers MagCache": _diffusers_mag_cache,
    "diffusers TaylorSeer lite": _lite,
    "diffusers TaylorSeer": _nothing,
    "TeaCache4Wan2.1": _tea_cache,
    "MagCache4Wan2": _mag_cache,
}
