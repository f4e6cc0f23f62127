"""Schedules that people know by name."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    Request,
    ays_schedule,
    beta_schedule,
    explicit_schedule,
    exponential_schedule,
    flow_schedule,
    karras_schedule,
    linear_schedule,
    sample,
    sample_many,
    shift_for_tokens,
)
from jax_stepcache.calibration.plain import with_schedule
from jax_stepcache.solvers.named_schedules import SCHEDULES, get_schedule

NOISE = jnp.linspace(-1, 1, 8).reshape(2, 4)


def network(weights, x, t, condition):
    """Bends with the sample, and turns with the time."""
    return jnp.sin(weights * x + t[:, None] / 300)


@pytest.mark.parametrize("name", SCHEDULES)
@given(steps=st.integers(1, 60))
def test_levels_fall_to_zero(name, steps):
    """Any number of steps makes a schedule of as many, whose timesteps follow sigma."""
    schedule = get_schedule(name, steps)
    assert schedule.num_steps == steps
    assert schedule.sigmas[-1] == 0
    assert schedule.sigmas[0] <= 1
    np.testing.assert_allclose(
        schedule.timesteps, 1000 * np.array(schedule.sigmas[:-1]), rtol=1e-9
    )


@pytest.mark.parametrize(
    "make", [linear_schedule, karras_schedule, exponential_schedule, beta_schedule]
)
@given(steps=st.integers(2, 40), most=st.floats(0.1, 1), ratio=st.floats(0.01, 0.9))
def test_the_ends_are_those_that_are_given(make, steps, most, ratio):
    """The first level is the largest, and the last but 0 the smallest."""
    least = most * ratio
    sigmas = make(steps, sigma_max=most, sigma_min=least).sigmas
    np.testing.assert_allclose([sigmas[0], sigmas[-2]], [most, least], rtol=1e-6)


def test_ten_steps_are_the_published_levels():
    """As noise over signal, the levels are those of the paper."""
    levels = np.array(ays_schedule(10, "sd").sigmas[:-1])
    ratio = levels / (1 - levels)
    np.testing.assert_allclose(ratio[[0, 4, 9]], [14.615, 1.886, 0.152])


@given(tokens=st.integers(1, 10_000))
def test_more_tokens_are_shifted_more(tokens):
    """The logarithm of the shift is a line through two points."""
    assert math.isclose(shift_for_tokens(256), math.exp(0.5))
    assert math.isclose(shift_for_tokens(4096), math.exp(1.15))
    assert shift_for_tokens(tokens) < shift_for_tokens(tokens + 1)


def test_a_name_stands_where_a_schedule_does():
    """A sample by name is the one by the schedule of that name."""
    options = {"model": network, "noise": NOISE, "solver": "dpm++_2m"}
    given = sample(1.0, schedule="karras", num_inference_steps=5, **options)
    wanted = sample(1.0, schedule=karras_schedule(5), **options)
    np.testing.assert_array_equal(given.sample, wanted.sample)
    assert sample(1.0, schedule="beta", **options).stats.model_calls == 16


@pytest.mark.slow
def test_requests_have_schedules_of_their_own():
    """Names and step counts of requests are data, shared or their own."""
    options = {"model": network, "solver": "ipndm"}
    requests = [
        Request(noise=NOISE[:1], num_inference_steps=4),
        Request(noise=NOISE[1:], schedule="exponential"),
        Request(noise=NOISE[1:], schedule=flow_schedule(6, 2.0)),
    ]
    shared = {"schedule": "karras", "num_inference_steps": 5}
    results = sample_many(1.0, requests, slots=2, **shared, **options)
    schedules = karras_schedule(4), exponential_schedule(5), flow_schedule(6, 2.0)
    for result, request, schedule in zip(results, requests, schedules, strict=True):
        alone = sample(1.0, noise=request.noise, schedule=schedule, **options)
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-6)


def test_fewer_steps_of_a_name():
    """What a cache is compared with has the schedule of that name, with fewer steps."""
    options = {"schedule": "karras", "num_inference_steps": 16}
    assert with_schedule(options, 4, 16) == {**options, "num_inference_steps": 4}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: get_schedule("karas", 4), "unknown schedule 'karas'.*'karras'"),
        (lambda: get_schedule("align_your_steps", 4), "'ays_sdxl'"),
        (lambda: get_schedule("beta", 0), "num_inference_steps is 0"),
        (lambda: get_schedule("beta", [4]), "num_inference_steps is .4.; it must be"),
        (lambda: karras_schedule(4, rho=0.0), "rho is 0.0; it must be above 0"),
        (lambda: beta_schedule(4, alpha=-1.0), "alpha is -1.0"),
        (lambda: linear_schedule(4, sigma_max=1.5), "sigma_max is 1.5"),
        (lambda: linear_schedule(4, 0.1, 0.2), "noise levels fall"),
        (lambda: exponential_schedule(4, sigma_min=0.0), "sigma_min is 0.0"),
        (lambda: ays_schedule(10, "sdx"), "unknown network 'sdx'.*'sdxl'"),
        (lambda: shift_for_tokens(0), "tokens is 0"),
        (lambda: shift_for_tokens(9, max_tokens=256), "both 256"),
        (
            lambda: sample(1.0, model=network, noise=NOISE, schedule="beta", shift=3.0),
            "schedule is 'beta', whose levels are its own",
        ),
        (
            lambda: sample(1.0, model=network, noise=NOISE, schedule="bata"),
            "unknown schedule 'bata'. Did you mean 'beta'",
        ),
    ],
)
def test_bad_schedules_are_told(make, message):
    """What cannot be a schedule is told before anything is compiled."""
    with pytest.raises(ValueError, match=message):
        make()


def test_own_sigmas_are_a_schedule():
    """Levels of one's own are sampled by every solver."""
    own = explicit_schedule([0.9, 0.6, 0.25, 0.05], [900, 600, 250])
    options = {"model": network, "noise": NOISE, "schedule": own}
    for solver in ("dpm++_3m", "unipc_3", "res"):
        assert np.isfinite(sample(1.0, solver=solver, **options).sample).all()
