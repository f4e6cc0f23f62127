"""Cache backends for diffusion samplers, compiled into one JAX loop.

``sample(load_params(), cache="step_cache")`` samples a world-action model and says
which steps ran the network. The pieces, from the outside in: `Pipeline` and the
backends (vLLM-Omni's names), `sample`, `denoise` (the loop), policies (a signal, a gate
and a forecast), solvers and schedules.
"""

from jax_stepcache.backends import (
    CUSTOM_STEPCACHE_ENABLERS,
    DIFFUSION_CACHE_BACKEND,
    CacheBackend,
    DiffusionCacheConfig,
    StaticBackend,
    StepCacheBackend,
    StepCacheConfig,
    StepCacheState,
    TunedBackend,
    get_cache_backend,
)
from jax_stepcache.denoise import denoise
from jax_stepcache.forecasts import Forecast, Hold, Linear, LinearX0
from jax_stepcache.model import FunctionModel, Model, SamplingDefaults
from jax_stepcache.params import Params
from jax_stepcache.pipeline import Pipeline
from jax_stepcache.policies import (
    DREAMZERO_SCHEDULES,
    Uncached,
    mask_of_steps,
    static_schedule,
    step_cache,
)
from jax_stepcache.policy import Composed, Policy, View
from jax_stepcache.registry import load_model, load_params, save_params
from jax_stepcache.result import SampleResult, Stats
from jax_stepcache.sample import sample
from jax_stepcache.schedule import Schedule, explicit_schedule, flow_schedule
from jax_stepcache.solvers import Euler, Solver, UniPC, get_solver

__version__ = "0.1.0"

__all__ = [
    "CUSTOM_STEPCACHE_ENABLERS",
    "DIFFUSION_CACHE_BACKEND",
    "DREAMZERO_SCHEDULES",
    "CacheBackend",
    "Composed",
    "DiffusionCacheConfig",
    "Euler",
    "Forecast",
    "FunctionModel",
    "Hold",
    "Linear",
    "LinearX0",
    "Model",
    "Params",
    "Pipeline",
    "Policy",
    "SampleResult",
    "SamplingDefaults",
    "Schedule",
    "Solver",
    "StaticBackend",
    "Stats",
    "StepCacheBackend",
    "StepCacheConfig",
    "StepCacheState",
    "TunedBackend",
    "Uncached",
    "UniPC",
    "View",
    "denoise",
    "explicit_schedule",
    "flow_schedule",
    "get_cache_backend",
    "get_solver",
    "load_model",
    "load_params",
    "mask_of_steps",
    "sample",
    "save_params",
    "static_schedule",
    "step_cache",
]
