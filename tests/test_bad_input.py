"""What users get wrong is a clear error, before the network is even traced."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, Pipeline, flow_schedule, sample, step_cache
from jax_stepcache.measure.flops import forward_flops
from jax_stepcache.sampling import check_sampling

from .small_model import SmallModel, small_noise, small_params

NOISE = jnp.ones((2, 4))


def never(params, x, t, condition):
    raise AssertionError("the network was traced")


class NeverTraced(SmallModel):
    def denoise(self, weights, sample, t, condition):
        raise AssertionError("the network was traced")


own = functools.partial(sample, (), model=never, noise=NOISE)
bundled = functools.partial(sample, Params(small_params().weights, NeverTraced()))
cached = functools.partial(own, cache="step_cache")
masked = functools.partial(own, cache="static")


def tiers(thresholds, countdowns):
    return {
        "velocity_sim_thresholds": thresholds,
        "velocity_skip_countdowns": countdowns,
    }


def history(least, most):
    return {"step_cache_dit_min_history": least, "step_cache_dit_max_history": most}


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        # Names.
        (
            own,
            {"cache": "step_cahce"},
            r"cache backend 'step_cahce'.*mean 'step_cache'",
        ),
        (own, {"cache": "xyz"}, r"unknown cache backend 'xyz'\. Supported: .*'none'"),
        (own, {"solver": "unipcc"}, r"unknown solver 'unipcc'.*mean 'unipc'"),
        (
            cached,
            {"cache_config": {"velocity_sim_treshold": [0.9]}},
            r"cache_config key 'velocity_sim_treshold'.*'velocity_sim_thresholds'",
        ),
        (cached, {"forecast": "linear_xo"}, r"forecast 'linear_xo'.*'linear_x0'"),
        (bundled, {"final_noise": {"vidoe": 0.8}}, r"output 'vidoe'.*mean 'video'"),
        (
            bundled,
            {"cache": "step_cache", "cache_config": {"signal_output": "vidoe"}},
            r"compares the output 'vidoe'; the sample has \['action', 'video'\]",
        ),
        # StepCache's settings.
        (cached, {"cache_config": tiers([0.95, 0.93], [4])}, "2 tiers and .* 1;"),
        (cached, {"cache_config": tiers([0.93, 0.95], [4, 2])}, "tiers must fall"),
        (cached, {"cache_config": tiers([0.95, 0.95], [4, 2])}, "tiers must fall"),
        (cached, {"cache_config": tiers([0.95, 0.93], [4, 0])}, "at least 1"),
        (cached, {"cache_config": tiers([1.01, 0.93], [4, 2])}, r"in \[-1, 1\]"),
        (cached, {"cache_config": tiers([0.95, -1.01], [4, 2])}, r"in \[-1, 1\]"),
        (cached, {"cache_config": history(3, 2)}, "min_history is 3 and .* 2;"),
        (cached, {"cache_config": history(1, 2)}, "min_history is 1; .*at least 2"),
        # Steps and schedules.
        (own, {"num_inference_steps": 0}, "num_inference_steps is 0; .*at least 1"),
        (bundled, {"num_inference_steps": -4}, "num_inference_steps is -4"),
        (own, {"shift": -1.0}, r"shift is -1\.0"),
        (own, {"final_noise": 1.5}, r"final_noise is 1\.5"),
        (
            own,
            {"schedule": flow_schedule(4), "shift": 3.0},
            "a schedule fixes the steps",
        ),
        (own, {"schedule": {"video": flow_schedule(4)}}, "one per output"),
        (
            bundled,
            {"schedule": {"video": flow_schedule(4), "action": flow_schedule(5)}},
            r"\[4, 5\] steps",
        ),
        # Masks.
        (masked, {"cache_config": {"steps_mask": [1, 0, 1]}}, r"\(3,\); 16 steps need"),
        (masked, {"cache_config": {"steps_mask": [0] + [1] * 15}}, "skips step 0"),
        (masked, {"cache_config": {"steps_mask": [2] * 16}}, "one row of booleans"),
        (masked, {}, "needs one of cache_config's steps_mask and num_dit_steps"),
        (masked, {"cache_config": {"num_dit_steps": 9}}, r"\[5, 6, 7, 8\] of 16 steps"),
        (
            masked,
            {"cache_config": {"num_dit_steps": 8}, "num_inference_steps": 12},
            "this generation has 12",
        ),
        (own, {"forecast": "linear"}, "forecast: of a cache, and there is none"),
        (own, {"cache": "tuned", "budget": 4}, "never has no tuned schedules"),
        (bundled, {"cache": "tuned"}, "needs a budget"),
        (
            bundled,
            {"cache": "tuned", "budget": 3},
            r"no schedule of 3 calls; it has \[4\]",
        ),
        (
            bundled,
            {"cache": "tuned", "budget": 4, "num_inference_steps": 8},
            "have 16 steps; this generation has 8",
        ),
        (own, {"cache": step_cache(), "forecast": "linear"}, "has its own settings"),
        (
            own,
            {"cache": step_cache(), "cache_config": {"budget": 4}},
            "has its own settings",
        ),
        (cached, {"forecast": {"video": "hold"}}, "one per output"),
        # Noise, observations and conditions.
        (own, {"noise": None}, "needs noise="),
        (own, {"noise": jnp.ones((2, 4), int)}, "noise has dtype int32; .*floating"),
        (own, {"noise": {"a": NOISE, "b": NOISE > 0}}, r"noise\['b'\] has dtype bool"),
        (own, {"noise": {"a": NOISE, "b": NOISE[:1]}}, "same leading batch dimension"),
        (own, {"noise": jnp.float32(1)}, "same leading batch dimension"),
        (own, {"guidance_scale": 2.0}, "needs condition= and negative_condition="),
        (own, {"negative_condition": NOISE}, "not used at a guidance scale of 1"),
        (
            bundled,
            {"noise": small_noise() | {"video": jnp.ones((1, 7))}},
            r"noise\['video'\] has shape \(1, 7\); the model takes \(1, 6\)",
        ),
        (bundled, {"noise": {"video": jnp.ones((1, 6))}}, "noise has structure"),
        (
            bundled,
            {"observation": {"text": jnp.ones((1, 5))}},
            r"observation\['text'\] has shape \(1, 5\); the model takes \(1, 4\)",
        ),
        (
            bundled,
            {"observation": {"text": jnp.ones((1, 4), int)}},
            r"observation\['text'\] has dtype int32; the model takes float32",
        ),
        (bundled, {"observation": {"txt": jnp.ones((1, 4))}}, "has structure"),
        (
            bundled,
            {"observation": {"text": jnp.ones((2, 4))}, "noise": small_noise(3)},
            r"noise\['action'\] has shape \(3, 3\); the model takes \(2, 3\)",
        ),
        (bundled, {"condition": jnp.ones((1, 4))}, "a condition needs noise="),
    ],
)
def test_value_errors(run, options, message):
    """A value that does not fit: what was given, and what would do."""
    with pytest.raises(ValueError, match=message):
        run(**options)


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        (own, {"model": None}, "sample needs model=, your denoiser"),
        (own, {"model": "dit"}, "sample needs model=.* got 'dit'"),
        (own, {"observation": NOISE}, "takes condition=, not observation="),
        (own, {"cache": 5}, "cache is 5; give a backend's name"),
        (cached, {"cache_config": 5}, "cache_config"),
        (cached, {"forecast": 5}, "forecast is 5"),
        (own, {"schedule": [1.0, 0.5, 0.0]}, "schedule.*flow_schedule"),
        (own, {"num_inference_steps": 2.5}, r"num_inference_steps is 2\.5"),
        (bundled, {"model": never}, "params already name their model"),
        (bundled, {"negative_condition": NOISE}, "makes its own unconditional branch"),
        (
            bundled,
            {"observation": {"text": NOISE}, "condition": NOISE},
            "an observation or a condition, not both",
        ),
    ],
)
def test_type_errors(run, options, message):
    """An argument of the wrong kind: what it is, and what it should be."""
    with pytest.raises(TypeError, match=message):
        run(**options)


def test_tiers_are_compared_while_tracing():
    """Thresholds that are traced still have a length, and it must fit."""
    with pytest.raises(ValueError, match=r"2 tiers and .* 1;"):
        jax.jit(lambda t: step_cache(t, (4,)).gate.countdowns)(jnp.array([0.9, 0.8]))


@pytest.mark.parametrize(
    ("backend", "config", "error", "message"),
    [
        ("setp_cache", None, ValueError, "mean 'step_cache'"),
        ("step_cache", {"budgt": 3}, ValueError, "mean 'budget'"),
        ("step_cache", [("budget", 3)], TypeError, "cache_config is a list"),
        (step_cache(), None, TypeError, "cache_backend"),
    ],
)
def test_pipelines_check_their_backend(backend, config, error, message):
    """A pipeline's backend is checked where the pipeline is made."""
    with pytest.raises(error, match=message):
        Pipeline((), model=never, cache_backend=backend, cache_config=config)


def test_an_error_leaves_nothing_behind():
    """After a bad call the next good one is as if there had been none."""
    with pytest.raises(ValueError, match="at least 1"):
        sample(small_params(), noise=small_noise(), num_inference_steps=0)
    result = sample(small_params(), noise=small_noise(), cache="step_cache")
    assert 2 <= result.stats.model_calls < 16
    assert np.isfinite(result.sample["video"]).all()


def test_options_that_are_passed_on_are_those_of_sample():
    """A name that it does not take is told, with the nearest, and no class of ours."""
    for call in (check_sampling, forward_flops):
        with pytest.raises(
            TypeError, match=r"option 'gidance_scale'.*'guidance_scale'"
        ):
            call((), model=never, noise=NOISE, gidance_scale=2.0)
