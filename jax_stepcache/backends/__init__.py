"""vLLM-Omni's cache surface: backends by name, their configs, and a pipeline's wrap."""

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.bespoke import BespokeBackend
from jax_stepcache.backends.cache_dit import CacheDiTBackend
from jax_stepcache.backends.cfg_cache import CFGCacheBackend
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.backends.db_prune import DBPruneBackend
from jax_stepcache.backends.di_cache import DiCacheBackend
from jax_stepcache.backends.diffusers import (
    FirstBlockCacheBackend,
    FirstBlockCacheConfig,
    TaylorSeerBackend,
    TaylorSeerCacheConfig,
)
from jax_stepcache.backends.easy_cache import EasyCacheBackend
from jax_stepcache.backends.hi_cache import HiCacheBackend
from jax_stepcache.backends.mag_cache import MagCacheBackend
from jax_stepcache.backends.resolve import resolve_cache, resolve_policy
from jax_stepcache.backends.sea_cache import SeaCacheBackend
from jax_stepcache.backends.selector import (
    DIFFUSION_CACHE_BACKEND,
    backend_from_environment,
    get_cache_backend,
)
from jax_stepcache.backends.sen_cache import SenCacheBackend
from jax_stepcache.backends.static_schedule import StaticBackend, TunedBackend
from jax_stepcache.backends.step_cache import (
    CUSTOM_STEP_CACHE_DIT_ENABLERS,
    CUSTOM_STEPCACHE_ENABLERS,
    StepCacheBackend,
    StepCacheConfig,
    StepCacheDiTBackend,
    StepCacheDiTConfig,
    StepCacheDiTState,
    StepCacheState,
    enable_dreamzero_step_cache_dit,
    enable_dreamzero_stepcache,
    get_stepcache_config,
    get_stepcache_state,
    is_stepcache_active,
)
from jax_stepcache.backends.tea_cache import TeaCacheBackend

__all__ = [
    "CUSTOM_STEPCACHE_ENABLERS",
    "CUSTOM_STEP_CACHE_DIT_ENABLERS",
    "DIFFUSION_CACHE_BACKEND",
    "BespokeBackend",
    "CFGCacheBackend",
    "CacheBackend",
    "CacheDiTBackend",
    "DBPruneBackend",
    "DiCacheBackend",
    "DiffusionCacheConfig",
    "EasyCacheBackend",
    "FirstBlockCacheBackend",
    "FirstBlockCacheConfig",
    "HiCacheBackend",
    "MagCacheBackend",
    "SeaCacheBackend",
    "SenCacheBackend",
    "StaticBackend",
    "StepCacheBackend",
    "StepCacheConfig",
    "StepCacheDiTBackend",
    "StepCacheDiTConfig",
    "StepCacheDiTState",
    "StepCacheState",
    "TaylorSeerBackend",
    "TaylorSeerCacheConfig",
    "TeaCacheBackend",
    "TunedBackend",
    "backend_from_environment",
    "enable_dreamzero_step_cache_dit",
    "enable_dreamzero_stepcache",
    "get_cache_backend",
    "get_stepcache_config",
    "get_stepcache_state",
    "is_stepcache_active",
    "resolve_cache",
    "resolve_policy",
]
