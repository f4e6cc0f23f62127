"""Backends of caches that look inside the network, on a pipeline."""

import numpy as np
import pytest

from jax_stepcache import (
    DMD,
    CacheDiTBackend,
    DBPruneBackend,
    DiCacheBackend,
    DiffusionCacheConfig,
    FirstBlockCacheBackend,
    FirstBlockCacheConfig,
    FoCa,
    Hermite,
    MagCacheBackend,
    Newton,
    Pipeline,
    SeaCacheBackend,
    Taylor,
    TaylorSeerBackend,
    TaylorSeerCacheConfig,
    TeaCacheBackend,
    get_cache_backend,
    steps_mask,
)
from jax_stepcache.network.own import function_model

from ..networks import constant
from ..staged import (
    NUM_STEPS,
    RATIOS,
    SKIPPING,
    UNROLLED,
    WEIGHTS,
    options,
    run,
)

KINDS = {
    "tea_cache": TeaCacheBackend,
    "cache_dit": CacheDiTBackend,
    "db_prune": DBPruneBackend,
    "mag_cache": MagCacheBackend,
    "sea_cache": SeaCacheBackend,
    "first_block_cache": FirstBlockCacheBackend,
    "taylor_seer": TaylorSeerBackend,
    "di_cache": DiCacheBackend,
}
MODEL = function_model(UNROLLED)


def make(**cache):
    return Pipeline(WEIGHTS, model=UNROLLED, **({"cache_backend": "none"} | cache))


def policy(name, settings, num_steps=NUM_STEPS):
    return get_cache_backend(name, settings).policy(MODEL, num_steps)


@pytest.mark.parametrize("name", KINDS)
def test_names(name):
    """Each backend has its name, in any case, and shows itself with its settings."""
    for spelled in (name, name.upper(), name.title()):
        backend = get_cache_backend(spelled, SKIPPING[name])
        assert type(backend) is KINDS[name]
    shown = repr(backend)
    assert shown.startswith(f"{KINDS[name].__name__}(config=DiffusionCacheConfig(")
    key, value = next(iter(SKIPPING[name].items()))
    assert f"{key}={value}" in shown
    with pytest.raises(ValueError, match=f"unknown cache backend.*mean {name!r}"):
        get_cache_backend(name + "s")


@pytest.mark.parametrize("name", KINDS)
def test_the_surface_of_vllm_omni(name):
    """``enable``, ``refresh``, call, ``disable``; generations start clean without."""
    pipeline, backend = make(), get_cache_backend(name, SKIPPING[name])
    own = pipeline.sampler
    assert not backend.is_enabled()
    backend.enable(pipeline)
    assert backend.is_enabled()
    with pytest.raises(ValueError, match=f"already has {KINDS[name].__name__}"):
        TeaCacheBackend().enable(pipeline)
    backend.refresh(pipeline, num_inference_steps=NUM_STEPS)
    first = pipeline(**options())
    backend.refresh(pipeline, NUM_STEPS, verbose=False)
    second = pipeline(**options())
    assert 0 < first.stats.model_calls < NUM_STEPS
    for result in (second, run(name, SKIPPING[name])):
        assert first.stats.computed.tolist() == result.stats.computed.tolist()
        np.testing.assert_array_equal(first.sample, result.sample)
    backend.disable(pipeline)
    assert not backend.is_enabled()
    assert pipeline.sampler is own
    assert pipeline(**options()).stats.model_calls == NUM_STEPS


@pytest.mark.parametrize("name", KINDS)
def test_a_plain_function_has_no_inside(name):
    """Enabling on a pipeline of a plain function says what the function lacks."""
    pipeline = Pipeline(WEIGHTS, model=constant, cache_backend="none")
    own = pipeline.sampler
    backend = get_cache_backend(name, SKIPPING[name])
    with pytest.raises(ValueError, match=r"constant lacks embed.*StagedDenoiser"):
        backend.enable(pipeline)
    assert not backend.is_enabled()
    assert pipeline.sampler is own
    with pytest.raises(ValueError, match=r"constant lacks embed.*StagedDenoiser"):
        Pipeline(
            WEIGHTS, model=constant, cache_backend=name, cache_config=SKIPPING[name]
        )


def test_diffusers_configs():
    """diffusers' own settings are taken under their names, with their defaults."""
    ours = FirstBlockCacheBackend(FirstBlockCacheConfig(0.2)).policy(MODEL, NUM_STEPS)
    assert ours.gate.threshold == np.float32(0.2)
    assert FirstBlockCacheBackend().config.threshold == 0.05
    ours = TaylorSeerBackend(TaylorSeerCacheConfig(3, 2, max_order=2)).policy(MODEL, 8)
    assert np.flatnonzero(ours.gate.mask).tolist() == [0, 1, 3, 6]
    assert ours.forecast == Taylor(2)
    for config in (FirstBlockCacheConfig(), TaylorSeerCacheConfig()):
        defaults = vars(DiffusionCacheConfig())
        assert vars(config).items() <= defaults.items()
    backend = TaylorSeerBackend(TaylorSeerCacheConfig(3))
    pipeline = make(cache_backend=backend)
    assert pipeline(**options()).stats.model_calls == 5
    with pytest.raises(TypeError, match="cache_config is a TaylorSeerCacheConfig"):
        FirstBlockCacheBackend(TaylorSeerCacheConfig())


def test_calibrators():
    """cache-dit's names of its calibrators are forecasts; HiCache's is Hermite's."""
    for settings, forecast in (
        ({"calibrator_type": "foca"}, FoCa()),
        ({"calibrator_type": "dmd"}, DMD()),
        ({"calibrator_type": "dmd", "dmd_history": 5, "dmd_rank": 2}, DMD(5, 2)),
        ({"calibrator_type": "taylorseer", "taylorseer_order": 2}, Taylor(2, 3)),
        ({"enable_taylorseer": True}, Taylor(1, 3)),
    ):
        assert policy("cache_dit", settings).forecast == forecast
    hi = policy("hi_cache", {"max_order": 2, "hicache_scale_factor": 0.7})
    assert hi.forecast == Hermite(2, 0.7)
    assert hi.gate.mask.tolist() == policy("taylor_seer", {}).gate.mask.tolist()


def test_defaults():
    """Without settings each is vLLM-Omni's or diffusers'."""
    tea = policy("tea_cache", {})
    assert tea.gate.threshold == np.float32(0.2)
    assert tea.gate.coefficients.tolist() == [0, 0, 0, 1, 0]
    warm = policy("cache_dit", {}).gate
    assert (warm.steps, warm.interval) == (4, 1)
    assert (warm.gate.skips, warm.gate.gate.skips) == (-1, 3)
    assert warm.gate.gate.gate.threshold == np.float32(0.24)
    di = policy("di_cache", {})
    assert (di.gate.steps, di.span.first) == (2, 1)
    assert di.gate.gate.gate.threshold == np.float32(0.4)
    assert policy("di_cache", {"error_choice": "delta_minus"}).gate.gate.gate.threshold
    sea = policy("sea_cache", {})
    assert sea.forecast == Newton(1)
    assert sea.gate.gate.skips == 2
    assert policy("sea_cache", {"sea_max_consecutive_cached": 0}).gate.gate.skips == -1


def test_ways_to_give_a_mask():
    """By name, by bins or as it is: the same policy comes of all three."""
    named = policy("cache_dit", {"scm_steps_mask_policy": "fast"}, 16)
    mask = steps_mask(16, "fast")
    assert np.asarray(named.gate.gate.mask).tolist() == mask.tolist()
    given = policy("cache_dit", {"steps_mask": mask}, 16)
    assert np.asarray(given.gate.gate.mask).tolist() == mask.tolist()
    bins = {"scm_compute_bins": [3, 1, 9], "scm_cache_bins": [2, 1]}
    binned = policy("cache_dit", bins | {"scm_steps_policy": "static"}, 16)
    assert np.flatnonzero(~binned.gate.mask).tolist() == [3, 4, 6]


def test_taylorseer_and_refresh_by_setting():
    """``enable_taylorseer`` and ``force_refresh_step_hint`` are DBCache's."""
    held = policy("cache_dit", {"taylorseer_order": 2})
    assert type(held.forecast).__name__ == "Hold"
    series = {"enable_taylorseer": True, "taylorseer_order": 2}
    assert policy("cache_dit", series).forecast == Taylor(2, first_step=3)
    assert policy("cache_dit", series | {"forecast": Newton(1)}).forecast == Newton(1)
    hint = {"force_refresh_step_hint": 3, "force_refresh_step_policy": "repeat"}
    again = policy("cache_dit", hint)
    assert (again.hint, again.repeat) == (3, True)


def test_calibration_skips_nothing():
    """``mag_calibrate`` computes all steps and shows ratios; no curve is asked for."""
    result = run("mag_cache", {"mag_calibrate": True})
    assert result.stats.model_calls == NUM_STEPS
    assert np.isfinite(result.stats.signal).all()


BAD = [
    ("tea_cache", {"rel_l1_thresh": 0.0}, "rel_l1_thresh is 0.0; .*above 0"),
    ("tea_cache", {"rel_l1_thresh": -0.1}, "rel_l1_thresh is -0.1; .*above 0"),
    ("tea_cache", {"coefficients": [1, 2, 3]}, r"\[1, 2, 3\]; it must be a row of 5"),
    ("tea_cache", {"rel_l1_thresh": "a", "original": True}, "rel_l1_thresh is 'a'"),
    ("tea_cache", {"rel_l1_tresh": 0.1}, "key 'rel_l1_tresh'.*'rel_l1_thresh'"),
    ("cache_dit", {"scm_steps_mask_policy": "fastt"}, "'fastt'.* 'fast'"),
    ("cache_dit", {"scm_steps_policy": "dynamc"}, "'dynamc'.*'dynamic'"),
    (
        "cache_dit",
        {"steps_mask": [1, 0, 1]},
        r"steps_mask has shape \(3,\); 8 steps need",
    ),
    (
        "cache_dit",
        {"scm_steps_mask_policy": "fast", "steps_mask": [1] * 8},
        r"got \['steps_mask', 'scm_steps_mask_policy'\]",
    ),
    (
        "cache_dit",
        {"scm_compute_bins": [8], "scm_cache_bins": [1], "steps_mask": [1] * 8},
        "one of .*got.*scm_compute_bins and scm_cache_bins",
    ),
    ("cache_dit", {"scm_compute_bins": [9]}, "compute bins and cache bins"),
    ("cache_dit", {"num_inference_steps": 28}, "is 28 in cache_config.* 8 steps"),
    (
        "cache_dit",
        {"force_refresh_step_hint": 3, "force_refresh_step_policy": "repeta"},
        "force_refresh_step_policy 'repeta'.*'repeat'",
    ),
    ("cache_dit", {"force_refresh_step_hint": 0}, "step_hint is 0; .*at least 1"),
    (
        "cache_dit",
        {"enable_taylorseer": True, "taylorseer_order": -1},
        "taylorseer_order is -1; .*at least 0",
    ),
    ("cache_dit", {"Fn_compute_blocks": 3}, "out 3 first and 0 last .* 3; at least"),
    ("cache_dit", {"Bn_compute_blocks": 2}, "out 1 first and 2 last .* 3; at least"),
    ("cache_dit", {"Fn_compute_blocks": 0}, "Fn_compute_blocks"),
    ("mag_cache", {}, r"needs mag_ratios.*calibrate\("),
    ("mag_cache", {"mag_ratios": RATIOS, "mag_max_skip_steps": 0}, "mag_max_skip"),
    ("mag_cache", {"mag_ratios": [0.0]}, "mag_ratios .*above 0"),
    ("sea_cache", {"sea_residual_order": -1}, "order is -1; .*at least 0"),
    ("sea_cache", {"sea_max_consecutive_cached": -1}, "sea_max_consecutive.* is -1"),
    ("first_block_cache", {"threshold": None}, "threshold is None"),
    ("db_prune", {"cfg_diff_compute_separate": False}, "cache-dit's fails with it"),
    (
        "db_prune",
        {"max_accumulated_residual_diff_threshold": 1.0},
        "does nothing in DBPrune",
    ),
    ("db_prune", {"non_prune_block_ids": [1, 2]}, "leaves out all of .* 3 blocks"),
    ("db_prune", {"non_prune_block_ids": [-1]}, "non_prune_block_ids is -1"),
    ("db_prune", {"residual_diff_threshold": -1}, "threshold is -1; .*at least 0"),
    ("db_prune", {"max_dynamic_prune_threshold": -1}, "threshold is -1; .*at least 0"),
    (
        "db_prune",
        {"enable_dynamic_prune_threshold": 1},
        "enable_dynamic_prune_threshold is 1; give True or False",
    ),
    ("db_prune", {"scm_steps_policy": "dynamik"}, "unknown scm_steps_policy"),
    ("di_cache", {"error_choice": "delta_x"}, "unknown error_choice 'delta_x'.*_y"),
    ("di_cache", {"ret_ratio": 1.5}, "ret_ratio is 1.5; .*at most 1"),
    ("di_cache", {"probe_depth": 0}, "probe_depth is 0; .*at least 1"),
    ("di_cache", {"probe_depth": 3}, "leaves out 3 first"),
    ("di_cache", {"rel_l1_thresh": -0.1}, "rel_l1_thresh is -0.1; .*at least 0"),
    ("hi_cache", {"hicache_scale_factor": 0.0}, "scale_factor is 0.0; .*above 0"),
    ("hi_cache", {"max_order": -1}, "max_order is -1; .*at least 0"),
    (
        "cache_dit",
        {"calibrator_type": "taylor"},
        "unknown calibrator_type 'taylor'.*'taylorseer'",
    ),
    (
        "cache_dit",
        {"calibrator_type": "foca", "enable_taylorseer": True},
        "calibrator_type is 'foca' and enable_taylorseer is True",
    ),
    (
        "cache_dit",
        {"calibrator_type": "dmd", "dmd_history": 3},
        "dmd_history is 3; .*at least 4",
    ),
    (
        "cache_dit",
        {"calibrator_type": "dmd", "dmd_ridge": -1.0},
        "dmd_ridge is -1.0; .*at least 0",
    ),
    ("taylor_seer", {"max_order": -1}, "max_order is -1; .*at least 0"),
    ("taylor_seer", {"cache_interval": 0}, "cache_interval is 0; .*at least 1"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD)
def test_bad_settings(name, settings, message):
    """A wrong setting is an error by name before anything runs, in every way in."""
    with pytest.raises(ValueError, match=message):
        run(name, settings)
    with pytest.raises(ValueError, match=message):
        get_cache_backend(name, settings).refresh(make(), NUM_STEPS)
