"""The library's caches and settings for those of the originals around FLUX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from jax_stepcache.policy.named.mag_cache import resampled_ratios

from .flux_run import Loop

Settings = dict[str, Any]


def options_of(loop: Loop) -> Settings:
    """What `sample` is asked with for a loop's cache."""
    given = dict(loop.settings["cache"])
    kind = given.pop("kind")
    for beginning, make in _KINDS.items():
        if kind.startswith(beginning):
            return make(kind, given, loop)
    raise pytest.UsageError(f"{kind!r} is no cache that is known: {given}")


def _named(
    cache: str, names: Mapping[str, str | None], **more: Any
) -> Callable[..., Settings]:
    """A cache whose settings have other names, or the same; None for none of ours."""

    def make(kind: str, given: Settings, loop: Loop) -> Settings:
        del kind, loop
        renamed = {names.get(name, name): x for name, x in given.items()}
        settings = {name: x for name, x in renamed.items() if name is not None}
        return {"cache": cache, "cache_config": settings | more}

    return make


def _db_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    if "taylorseer_order" in given:
        given["enable_taylorseer"] = True
    lists = "each" if "each block list" in kind else "joined"
    # Each branch has a state of its own here, too.
    names = {"enable_separate_cfg": None}
    return _named("cache_dit", names, block_lists=lists)(kind, given, loop)


def _diffusers_mag_cache(kind: str, given: Settings, loop: Loop) -> Settings:
    ratios = resampled_ratios(np.float32(given["mag_ratios"]), len(loop.arrays["v"]))
    names = {
        "threshold": "mag_threshold",
        "max_skip_steps": "mag_max_skip_steps",
        "retention_ratio": "mag_retention_ratio",
        "num_inference_steps": None,
    }
    given = {**given, "mag_ratios": ratios}
    return _named("mag_cache", names, original=False)(kind, given, loop)


_WIDTH = {"taylor_factors_dtype": None}
_MAG_CACHE = {
    "magcache_thresh": "mag_threshold",
    "K": "mag_max_skip_steps",
    "retention_ratio": "mag_retention_ratio",
}
_KINDS: dict[str, Callable[..., Settings]] = {
    "cache-dit DBCache": _db_cache,
    "diffusers FirstBlockCache": _named("first_block_cache", {}),
    "diffusers MagCache": _diffusers_mag_cache,
    "diffusers TaylorSeer lite": _named("taylor_seer", _WIDTH, use_lite_mode=True),
    "diffusers TaylorSeer": _named("taylor_seer", _WIDTH, attention_only=True),
    "TeaCache4FLUX": _named("tea_cache", {}, original=True),
    "MagCache4FLUX": _named("mag_cache", _MAG_CACHE, original=True),
}
