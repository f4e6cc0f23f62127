"""Mistakes are told before anything is sampled."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, calibrate, flow_schedule
from jax_stepcache.calibration import samples, trajectory

from ..small_model import SmallModel
from ..staged import UNROLLED, WEIGHTS, conditions, noise

SAMPLES = {"noise": noise(), "condition": conditions()[0]}
CALLS = {"model_calls": 4}


@pytest.fixture(autouse=True)
def _nothing_is_sampled(monkeypatch):
    def never(*_, **__):
        raise AssertionError("the network was sampled")

    monkeypatch.setattr(samples, "sample", never)
    monkeypatch.setattr(trajectory, "_walked", never)


def test_good_input_is_sampled():
    """The guard of these tests works: without a mistake, something is sampled."""
    with pytest.raises(AssertionError, match="was sampled"):
        calibrate(WEIGHTS, UNROLLED, SAMPLES, target=CALLS)


MISTAKES = {
    "unknown cache": ({"cache": "tea_cash"}, "Did you mean 'tea_cache'"),
    "a cache without a threshold": ({"cache": "static"}, "Others have no threshold"),
    "unknown target": (
        {"target": {"model_call": 4}},
        "target 'model_call'. Did you mean 'model_calls'",
    ),
    "target of zero": ({"target": {"psnr": 0}}, "psnr is 0; it must be above 0"),
    "negative target": ({"target": {"model_calls": -1}}, "is -1; it must be above 0"),
    "infinite target": ({"target": {"psnr": float("inf")}}, "is inf; it must be"),
    "the threshold": (
        {"cache": "tea_cache", "cache_config": {"rel_l1_thresh": 0.2}},
        "rel_l1_thresh is what is to be found",
    ),
    "settings for tuned": (
        {"cache_config": {"coefficients": [1.0]}},
        r"\['coefficients'\] is for caches with a threshold",
    ),
    "a budget": ({"budget": 4}, "budget= is no option here"),
    "a forecast": ({"forecast": "hold"}, "forecast= is no option here"),
    "a target in words": (
        {"target": {"psnr": "high"}},
        "is 'high'; it must be numeric",
    ),
    "a schedule and steps": (
        {"schedule": flow_schedule(8), "num_inference_steps": 8},
        "a schedule fixes the steps",
    ),
    "a schedule of other steps": (
        {"schedule": lambda steps: flow_schedule(steps + 1)},
        r"schedule\(16\) returned one of 17 steps",
    ),
    "two steps": ({"num_inference_steps": 2}, "is 2, which leaves no schedule"),
    "a warm-up of all steps": (
        {"cache": "cache_dit", "num_inference_steps": 4},
        "no residual_diff_threshold to find .* 4 steps .* warm-up takes the first 4",
    ),
    "too little for a polynomial": (
        {"cache": "tea_cache", "num_inference_steps": 3},
        "samples is 2 and num_inference_steps 3: that is 4 changes",
    ),
    "as many calls as steps": (
        {"target": {"model_calls": 16}},
        "room for 1 to 15 model calls",
    ),
    "no noise": ({"samples": {"condition": conditions()[0]}}, "it needs 'noise'"),
    "a typo in samples": (
        {"samples": {**SAMPLES, "conditon": 0}},
        "Did you mean 'condition'",
    ),
    "samples of several sizes": (
        {"samples": {"noise": {"a": jnp.ones((2, 3)), "b": np.ones((3, 3))}}},
        "the same leading batch",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_value_errors(what):
    """What was given, what is allowed, and the nearest right name."""
    changed, message = MISTAKES[what]
    arguments = {"samples": SAMPLES, "target": CALLS} | changed
    with pytest.raises(ValueError, match=message):
        calibrate(WEIGHTS, UNROLLED, **arguments)


@pytest.mark.parametrize("target", [4, {}, {"model_calls": 4, "psnr": 30.0}, None])
def test_a_target_is_one_name_and_number(target):
    """Any other kind is shown both ways to say it."""
    with pytest.raises(TypeError, match=r"give \{'model_calls': 6\} or \{'psnr'"):
        calibrate(WEIGHTS, UNROLLED, SAMPLES, target=target)


def test_a_model_of_ones_own_draws_no_samples():
    """Only bundled models know how; theirs must be one or more."""
    with pytest.raises(TypeError, match="samples is 8; with a model of your own"):
        calibrate(WEIGHTS, UNROLLED, target=CALLS)
    with pytest.raises(ValueError, match="samples is 0"):
        calibrate(Params(None, SmallModel()), samples=0, target=CALLS)
