"""Backends by name, and the environment's default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.bespoke import BespokeBackend
from jax_stepcache.backends.cache_dit import CacheDiTBackend
from jax_stepcache.backends.cfg_cache import CFGCacheBackend
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.backends.db_prune import DBPruneBackend
from jax_stepcache.backends.di_cache import DiCacheBackend
from jax_stepcache.backends.diffusers import (
    FirstBlockCacheBackend,
    TaylorSeerBackend,
)
from jax_stepcache.backends.easy_cache import EasyCacheBackend
from jax_stepcache.backends.hi_cache import HiCacheBackend
from jax_stepcache.backends.mag_cache import MagCacheBackend
from jax_stepcache.backends.sea_cache import SeaCacheBackend
from jax_stepcache.backends.sen_cache import SenCacheBackend
from jax_stepcache.backends.static_schedule import StaticBackend, TunedBackend
from jax_stepcache.backends.step_cache import StepCacheBackend
from jax_stepcache.backends.tea_cache import TeaCacheBackend
from jax_stepcache.errors import unknown_name

DIFFUSION_CACHE_BACKEND = "DIFFUSION_CACHE_BACKEND"
"""The environment variable that names a pipeline's default backend."""

_OLDER_VARIABLE = "DIFFUSION_CACHE_ADAPTER"

_BACKENDS: Mapping[str, type[CacheBackend]] = {
    "step_cache": StepCacheBackend,
    "stepcache": StepCacheBackend,
    "step_cache_dit": StepCacheBackend,
    "tea_cache": TeaCacheBackend,
    "cache_dit": CacheDiTBackend,
    "db_prune": DBPruneBackend,
    "mag_cache": MagCacheBackend,
    "sea_cache": SeaCacheBackend,
    "first_block_cache": FirstBlockCacheBackend,
    "taylor_seer": TaylorSeerBackend,
    "easy_cache": EasyCacheBackend,
    "di_cache": DiCacheBackend,
    "hi_cache": HiCacheBackend,
    "sen_cache": SenCacheBackend,
    "cfg_cache": CFGCacheBackend,
    "static": StaticBackend,
    "tuned": TunedBackend,
    "bespoke": BespokeBackend,
}

# What they are called elsewhere, in plain letters.
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("dbcache", "dbcachetaylor", "blockcache"), "cache_dit"),
    **dict.fromkeys(("prune", "dynamicblockprune"), "db_prune"),
    **dict.fromkeys(("fbcache", "fbc", "fbcachedit"), "first_block_cache"),
    **dict.fromkeys(("taylor", "taylorcache", "taylorseercache"), "taylor_seer"),
    **dict.fromkeys(("fastercache", "fastercfg", "cfg"), "cfg_cache"),
    **dict.fromkeys(("hermite", "hermitecache"), "hi_cache"),
    **dict.fromkeys(("scm", "mask", "schedule", "stepsmask"), "static"),
    **dict.fromkeys(("off", "no", "false"), "none"),
}


def backend_name(backend: CacheBackend) -> str:
    """What a backend is called where one is chosen; of a class of one's own its name.

    Args:
        backend: as of `get_cache_backend`.

    Returns:
        The name.
    """
    names = (name for name, kind in _BACKENDS.items() if kind is type(backend))
    return next(names, type(backend).__name__)


def get_cache_backend(
    name: str | None,
    config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
) -> CacheBackend | None:
    """Makes a cache backend by name.

    Args:
        name: ``"step_cache"`` (also ``"stepcache"``, ``"step_cache_dit"``),
            ``"tea_cache"``, ``"cache_dit"``, ``"db_prune"``, ``"mag_cache"``,
            ``"sea_cache"``,
            ``"first_block_cache"``, ``"taylor_seer"``, ``"easy_cache"``,
            ``"di_cache"``, ``"hi_cache"``, ``"sen_cache"``, ``"cfg_cache"``,
            ``"static"``, ``"tuned"``, ``"bespoke"``, in any case; None or ``"none"``
            for no cache.
        config: its settings; a dict goes through `DiffusionCacheConfig.from_dict`.

    Returns:
        The backend, or None.

    Raises:
        ValueError: for an unknown name or setting, with the nearest known one.
        TypeError: if the name is no string.
    """
    if isinstance(config, Mapping):
        config = DiffusionCacheConfig.from_dict(config)  # a typo is one without a cache
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"cache_backend is {name!r}; give the name of a backend")
    if name.lower() == "none":
        return None
    if name.lower() not in _BACKENDS:
        known = [*_BACKENDS, "none"]
        raise ValueError(unknown_name("cache backend", name, known, ELSEWHERE))
    return _BACKENDS[name.lower()](config)


def backend_from_environment() -> str:
    """The backend that the environment names.

    Returns:
        ``DIFFUSION_CACHE_BACKEND``, else the older ``DIFFUSION_CACHE_ADAPTER``, in
        lower case; ``"none"`` where neither is set.
    """
    name = os.environ.get(DIFFUSION_CACHE_BACKEND) or os.environ.get(_OLDER_VARIABLE)
    return (name or "none").lower()
