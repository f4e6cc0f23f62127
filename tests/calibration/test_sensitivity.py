"""How a network's answer moves is measured where it answered."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import StagedDenoiser, calibrate, explicit_schedule
from jax_stepcache.calibration.sensitivity import sensitivities
from jax_stepcache.calibration.trajectory import follow
from jax_stepcache.options import Options, resolve

NUM_STEPS = 5
SLOPES = np.array([0.25, 1.5], np.float32)
LEVELS = np.linspace(1, 0, NUM_STEPS + 1)
SCHEDULE = explicit_schedule(LEVELS, 1000 * LEVELS[:-1])
SHARED = {"schedule": SCHEDULE, "solver": "euler"}


def _embed(weights, x, t, condition):
    return x[:, None], (t, condition)


def _blocks(weights, hidden, context, start, stop):
    """Their slope over the sample is the condition's, that over t 2 in a thousand."""
    t, condition = (x[:, None, None] for x in context)
    return condition * hidden + 2 * t / 1000


def _head(weights, hidden, context):
    return hidden[:, 0]


NETWORK = StagedDenoiser(1, _embed, _blocks, _head)


def test_each_sample_is_asked_under_its_own_condition():
    """The table is the mean of the samples' own slopes, at every step."""
    noise = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    samples = {"noise": noise, "condition": jnp.asarray(SLOPES)}
    target = {"model_calls": 4}
    given = {"samples": samples, "target": target, "cache": "sen_cache", **SHARED}
    found = calibrate((), NETWORK, **given)
    table = found.cache_config["sencache_sensitivities"]
    np.testing.assert_allclose(table["J_x_norm"], SLOPES.mean(), rtol=1e-4)
    np.testing.assert_allclose(table["J_t_norm"], 2e-3, rtol=1e-3)


def test_one_step_has_no_next():
    """It is refused by name, rather than answered with NaN."""
    shared = {"model": NETWORK, "num_inference_steps": 1, "solver": "euler"}
    row = {"noise": np.ones((1, 5), np.float32), "condition": SLOPES[:1]}
    one = resolve((), Options(**shared, **row))
    with pytest.raises(ValueError, match=r"num_inference_steps is 1; .* at least 2"):
        sensitivities([one], [follow(one)])
