import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    CacheBackend,
    DiffusionCacheConfig,
    Pipeline,
    StaticBackend,
    StepCacheBackend,
    TunedBackend,
    Uncached,
    get_cache_backend,
    static_schedule,
    step_cache,
)
from jax_stepcache.backends import (
    CUSTOM_STEPCACHE_ENABLERS,
    enable_dreamzero_stepcache,
    resolve_policy,
)
from jax_stepcache.network.own import FunctionModel

from ..networks import constant, counted_steps
from ..small_model import SmallModel

MODEL = FunctionModel(constant)


class DreamZeroPipeline(Pipeline):
    """Known to the registry by its name."""


class Unknown:
    """A pipeline's look without its name."""

    def __init__(self):
        self.sampler, self.model = print, MODEL


def make(kind=Pipeline):
    return kind(jnp.float32(1), model=constant, cache_backend="none")


def calls(pipeline):
    options = {"schedule": counted_steps(), "solver": "euler"}
    return int(pipeline(noise=jnp.ones((1, 2)), **options).stats.model_calls)


BACKENDS = {
    "step_cache": StepCacheBackend(),
    "static": StaticBackend({"num_dit_steps": 8}),
}


def test_the_abstract_backend_asks_for_what_the_original_asks():
    """A backend must say how to enable and how to refresh it, and no more."""
    assert CacheBackend.__abstractmethods__ == {"enable", "refresh"}
    with pytest.raises(TypeError, match="abstract"):
        CacheBackend()


def test_disabling_leaves_what_the_user_had_filled_in():
    """The sampler comes back with the user's own settings, and without the cache."""
    pipeline = make()
    pipeline.sampler = functools.partial(pipeline.sampler, solver="euler")
    backend = get_cache_backend("step_cache")
    backend.enable(pipeline)
    backend.disable(pipeline)
    assert pipeline.sampler.keywords == {"solver": "euler"}
    assert calls(pipeline) == 16


def test_one_backend_serves_one_pipeline():
    """Whether a backend is enabled is one answer, so it wraps one pipeline."""
    backend = get_cache_backend("step_cache")
    backend.enable(make())
    with pytest.raises(ValueError, match="another pipeline"):
        backend.enable(make())


def test_a_backend_of_ones_own():
    """A subclass works wherever a named backend does."""

    class First(CacheBackend):
        def policy(self, model, num_inference_steps):
            return static_schedule([1] + [0] * (num_inference_steps - 1))

        def enable(self, pipeline):
            self._wrap(pipeline)

        def refresh(self, pipeline, num_inference_steps, verbose=True):
            self.policy(pipeline.model, num_inference_steps)

    pipeline = make()
    First().enable(pipeline)
    assert calls(pipeline) == 1


@pytest.mark.parametrize("name", BACKENDS)
def test_enable_and_disable(name):
    """Enabling wraps the pipeline's sampler, disabling gives it back."""
    backend, pipeline = type(BACKENDS[name])(BACKENDS[name].config), make()
    own = pipeline.sampler
    assert not backend.is_enabled()
    backend.enable(pipeline)
    assert backend.is_enabled()
    assert backend.enabled
    assert pipeline.sampler is not own
    assert calls(pipeline) == {"step_cache": 4, "static": 8}[name]
    backend.disable(pipeline)
    assert not backend.is_enabled()
    assert pipeline.sampler is own
    assert calls(pipeline) == 16


def test_enabling_twice_is_refused():
    """A pipeline has one cache: a second must wait until the first is disabled."""
    pipeline, first = make(), StepCacheBackend()
    first.enable(pipeline)
    for second in (first, StepCacheBackend(), StaticBackend({"num_dit_steps": 5})):
        with pytest.raises(ValueError, match="already has StepCacheBackend; disable"):
            second.enable(pipeline)
    first.disable(pipeline)
    StaticBackend({"num_dit_steps": 5}).enable(pipeline)
    assert calls(pipeline) == 5


def test_disabling_what_is_not_enabled():
    """Only the backend that wraps a pipeline can unwrap it."""
    with pytest.raises(ValueError, match="is not enabled on this pipeline"):
        StepCacheBackend().disable(make())


def test_refresh_checks_the_generation():
    """Settings that do not fit the step count are told before the generation."""
    pipeline, backend = make(), StaticBackend({"num_dit_steps": 8})
    backend.enable(pipeline)
    backend.refresh(pipeline, 16)
    with pytest.raises(ValueError, match="this generation has 12"):
        backend.refresh(pipeline, num_inference_steps=12)
    with pytest.raises(ValueError, match="tiers must fall"):
        StepCacheBackend({"velocity_sim_thresholds": [0.5, 0.9]}).refresh(pipeline, 16)


def test_repr():
    """A backend shows its name and settings."""
    shown = repr(StepCacheBackend({"step_cache_dit_max_history": 7}))
    assert shown.startswith("StepCacheBackend(config=DiffusionCacheConfig(")
    assert "step_cache_dit_max_history=7" in shown


def test_pipelines_without_an_enabler():
    """Step caching is enabled class by class, and says which classes there are."""
    message = (
        "step_cache backend does not support Unknown. "
        "Supported: ['CachedSampler', 'DreamZeroPipeline', 'Pipeline']"
    )
    with pytest.raises(ValueError, match="does not support") as error:
        StepCacheBackend().enable(Unknown())
    assert str(error.value) == message


def test_a_class_joins_by_its_enabler(monkeypatch):
    """One entry in the registry serves a new class of pipelines, and subclasses."""
    monkeypatch.setitem(
        CUSTOM_STEPCACHE_ENABLERS, "Unknown", enable_dreamzero_stepcache
    )
    backend, pipeline = StepCacheBackend(), Unknown()
    backend.enable(pipeline)
    assert pipeline.sampler.keywords == {"cache": backend}
    pipeline = make(DreamZeroPipeline)
    StepCacheBackend().enable(pipeline)
    assert calls(pipeline) == 4


def test_a_pipeline_without_a_sampler():
    """What cannot be wrapped is refused."""
    pipeline = make()
    pipeline.sampler = None
    with pytest.raises(ValueError, match="Pipeline has no sampler"):
        StepCacheBackend().enable(pipeline)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("step_cache", StepCacheBackend),
        ("stepcache", StepCacheBackend),
        ("step_cache_dit", StepCacheBackend),
        ("Step_Cache", StepCacheBackend),
        ("static", StaticBackend),
        ("tuned", TunedBackend),
        (None, type(None)),
        ("none", type(None)),
        ("None", type(None)),
    ],
)
def test_backends_by_name(name, kind):
    """All names and aliases, in any case; None and ``"none"`` are no backend."""
    assert type(get_cache_backend(name)) is kind


def test_settings_of_a_named_backend():
    """A dict becomes a config; a config is taken as it is; nothing is the defaults."""
    config = DiffusionCacheConfig(budget=4)
    assert get_cache_backend("tuned", config).config is config
    assert get_cache_backend("tuned", {"budget": 4}).config == config
    assert get_cache_backend("step_cache").config == DiffusionCacheConfig()
    with pytest.raises(ValueError, match=r"unknown cache backend 'teacash'.*Supported"):
        get_cache_backend("teacash")


def test_defaults_are_vllm_omnis():
    """Names and defaults of the settings are those of `DiffusionCacheConfig` there."""
    ours = dataclasses.asdict(DiffusionCacheConfig())
    theirs = {
        "rel_l1_thresh": None,
        "coefficients": None,
        "sea_threshold": 0.25,
        "sea_residual_order": 1,
        "sea_max_consecutive_cached": 2,
        "sea_power_exp": 3.0,
        "mag_threshold": 0.24,
        "mag_max_skip_steps": 5,
        "mag_retention_ratio": 0.1,
        "mag_ratios": None,
        "mag_calibrate": False,
        "Fn_compute_blocks": 1,
        "Bn_compute_blocks": 0,
        "max_warmup_steps": 4,
        "max_cached_steps": -1,
        "residual_diff_threshold": 0.24,
        "max_continuous_cached_steps": 3,
        "enable_taylorseer": False,
        "taylorseer_order": 1,
        "scm_steps_mask_policy": None,
        "scm_steps_policy": "dynamic",
        "num_inference_steps": None,
        "force_refresh_step_hint": None,
        "force_refresh_step_policy": "once",
        "step_cache_dit_enabled": True,
        "velocity_sim_thresholds": (0.95, 0.93),
        "velocity_skip_countdowns": (4, 2),
        "step_cache_dit_min_history": 2,
        "step_cache_dit_max_history": 2,
    }
    assert {name: ours[name] for name in theirs} == theirs


def test_unknown_settings():
    """A name that is no setting is an error; ``strict=False`` drops it, as theirs."""
    settings = {"velocity_skip_countdown": [1], "budget": 3}
    with pytest.raises(ValueError, match=r"'velocity_skip_countdown'.*_countdowns'"):
        DiffusionCacheConfig.from_dict(settings)
    loose = DiffusionCacheConfig.from_dict(settings, strict=False)
    assert loose == DiffusionCacheConfig(budget=3)


def test_resolving_what_follows_cache():
    """A name, a backend, a policy or None all become a policy."""
    policy = step_cache()
    assert resolve_policy(policy, MODEL, 16) is policy
    assert resolve_policy(None, MODEL, 16) == Uncached()
    disabled = StepCacheBackend({"step_cache_dit_enabled": False})
    assert resolve_policy(disabled, MODEL, 16) == Uncached()
    named = resolve_policy("static", MODEL, 16, {"num_dit_steps": 5})
    assert np.flatnonzero(named.gate.mask).tolist() == [0, 1, 2, 7, 12]
    config = DiffusionCacheConfig(steps_mask=[1, 0])
    assert resolve_policy("static", MODEL, 2, config).gate.mask.tolist() == [1, 0]


def test_static_needs_one_kind_of_schedule():
    """A mask of one's own or one of DreamZero's, not both and not neither."""
    for config in ({}, {"num_dit_steps": 8, "steps_mask": [1] * 16}):
        with pytest.raises(ValueError, match="needs one of"):
            StaticBackend(config).policy(MODEL, 16)


def test_tuned_takes_schedule_and_forecasts_from_the_model():
    """A budget picks the model's schedule; a forecast of one's own may replace its."""
    policy = TunedBackend({"budget": 4}).policy(SmallModel(), 16)
    assert np.flatnonzero(policy.gate.mask).tolist() == [0, 2, 6, 11]
    assert sorted(policy.forecast) == ["action", "video"]
    held = TunedBackend({"budget": 4, "forecast": "hold"}).policy(SmallModel(), 16)
    assert type(held.forecast).__name__ == "Hold"
