"""The public names, and where each of them lives.

Users import them from `jax_stepcache`, which imports this file at the first of them.
"""

from jax_stepcache.backends import (
    CUSTOM_STEPCACHE_ENABLERS,
    DIFFUSION_CACHE_BACKEND,
    BespokeBackend,
    CacheBackend,
    CacheDiTBackend,
    DiffusionCacheConfig,
    FirstBlockCacheBackend,
    FirstBlockCacheConfig,
    MagCacheBackend,
    SeaCacheBackend,
    StaticBackend,
    StepCacheBackend,
    StepCacheConfig,
    StepCacheState,
    TaylorSeerBackend,
    TaylorSeerCacheConfig,
    TeaCacheBackend,
    TunedBackend,
    get_cache_backend,
)
from jax_stepcache.calibration import (
    Calibration,
    TableFit,
    calibrate,
    load_settings,
    save_settings,
)
from jax_stepcache.loop.as_table import as_table
from jax_stepcache.loop.denoise import denoise
from jax_stepcache.loop.result import SampleResult, Stats
from jax_stepcache.measure.summary import Summary, summary
from jax_stepcache.measure.summary.timeline import Timeline, timeline
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.adapting.adapt import adapt
from jax_stepcache.network.as_flow import as_flow
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.parametrisation import (
    EDMDiffusion,
    FlowMatching,
    VPDiffusion,
)
from jax_stepcache.network.params import Params
from jax_stepcache.network.placed import place_params
from jax_stepcache.network.protocol import Model, Part, SamplingDefaults
from jax_stepcache.network.registry import load_model, load_params, save_params
from jax_stepcache.network.residual import Residual
from jax_stepcache.network.stages import StagedDenoiser, Stages
from jax_stepcache.options import Request
from jax_stepcache.pipeline import Pipeline
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import (
    Forecast,
    Hold,
    Linear,
    LinearX0,
    Newton,
    Taylor,
)
from jax_stepcache.policy.gates import (
    Accumulate,
    Always,
    Below,
    ForcedSteps,
    Gate,
    LastStep,
    Magnitude,
    Mask,
    MaxConsecutive,
    MaxSkips,
    Tiers,
    WarmUp,
)
from jax_stepcache.policy.named import (
    DREAMZERO_SCHEDULES,
    TEACACHE_COEFFICIENTS,
    Restarting,
    Uncached,
    db_cache,
    first_block_cache,
    mag_cache,
    mask_of_steps,
    restarting,
    sea_cache,
    static_schedule,
    step_cache,
    steps_mask,
    taylor_seer,
    tea_cache,
)
from jax_stepcache.policy.policy import Composed, Policy
from jax_stepcache.policy.signals import (
    Cosine,
    FirstBlocks,
    MagnitudeRatio,
    ModulatedInput,
    Nothing,
    Signal,
    Spectrum,
)
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View
from jax_stepcache.requests.many import sample_many
from jax_stepcache.sampling import sample
from jax_stepcache.serving import (
    DeadlineExceeded,
    Outcome,
    Server,
    ServerSettings,
    Stream,
    policy_server,
    serve,
)
from jax_stepcache.solvers import (
    IPNDM,
    LCM,
    RES,
    Bespoke,
    DPMSolver,
    DPMSolverSDE,
    Euler,
    EulerAncestral,
    Heun,
    Solver,
    SolverTable,
    UniPC,
    get_solver,
)
from jax_stepcache.solvers.ays import ays_schedule
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule, flow_schedule
from jax_stepcache.solvers.spacings import (
    beta_schedule,
    exponential_schedule,
    karras_schedule,
    linear_schedule,
)
from jax_stepcache.solvers.token_shift import shift_for_tokens

__all__ = [
    "CUSTOM_STEPCACHE_ENABLERS",
    "DIFFUSION_CACHE_BACKEND",
    "DREAMZERO_SCHEDULES",
    "IPNDM",
    "LCM",
    "RES",
    "TEACACHE_COEFFICIENTS",
    "Accumulate",
    "Always",
    "Below",
    "Bespoke",
    "BespokeBackend",
    "CacheBackend",
    "CacheDiTBackend",
    "Calibration",
    "Composed",
    "Cosine",
    "DPMSolver",
    "DPMSolverSDE",
    "DeadlineExceeded",
    "DiffusionCacheConfig",
    "EDMDiffusion",
    "Euler",
    "EulerAncestral",
    "FirstBlockCacheBackend",
    "FirstBlockCacheConfig",
    "FirstBlocks",
    "FlowMatching",
    "ForcedSteps",
    "Forecast",
    "FunctionModel",
    "Gate",
    "Heun",
    "Hold",
    "LastStep",
    "Layout",
    "Linear",
    "LinearX0",
    "MagCacheBackend",
    "Magnitude",
    "MagnitudeRatio",
    "Mask",
    "MaxConsecutive",
    "MaxSkips",
    "Model",
    "ModulatedInput",
    "Newton",
    "Nothing",
    "Outcome",
    "Params",
    "Part",
    "Pipeline",
    "Policy",
    "Request",
    "Residual",
    "Restarting",
    "SampleResult",
    "SamplingDefaults",
    "Schedule",
    "SeaCacheBackend",
    "Server",
    "ServerSettings",
    "Signal",
    "Solver",
    "SolverTable",
    "Span",
    "Spectrum",
    "StagedDenoiser",
    "Stages",
    "StaticBackend",
    "Stats",
    "StepCacheBackend",
    "StepCacheConfig",
    "StepCacheState",
    "Stream",
    "Summary",
    "TableFit",
    "Taylor",
    "TaylorSeerBackend",
    "TaylorSeerCacheConfig",
    "TeaCacheBackend",
    "Tiers",
    "Timeline",
    "TunedBackend",
    "Uncached",
    "UniPC",
    "VPDiffusion",
    "View",
    "WarmUp",
    "adapt",
    "as_flow",
    "as_table",
    "ays_schedule",
    "beta_schedule",
    "calibrate",
    "compose",
    "db_cache",
    "denoise",
    "explicit_schedule",
    "exponential_schedule",
    "first_block_cache",
    "flow_schedule",
    "get_cache_backend",
    "get_solver",
    "karras_schedule",
    "linear_schedule",
    "load_model",
    "load_params",
    "load_settings",
    "mag_cache",
    "mask_of_steps",
    "place_params",
    "policy_server",
    "restarting",
    "sample",
    "sample_many",
    "save_params",
    "save_settings",
    "sea_cache",
    "serve",
    "shift_for_tokens",
    "static_schedule",
    "step_cache",
    "steps_mask",
    "summary",
    "taylor_seer",
    "tea_cache",
    "timeline",
]
