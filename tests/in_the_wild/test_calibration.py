"""Calibrating with schedules of one's own, per sample, and with odd networks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    calibrate,
    explicit_schedule,
    flow_schedule,
    load_params,
    sample,
    sample_many,
)
from jax_stepcache.calibration.fit import fit_polynomial
from jax_stepcache.calibration.plain import fewer_steps
from jax_stepcache.calibration.quality import decibels

from ..networks import dense
from ..staged import UNROLLED, WEIGHTS, conditions, noise

NOISE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6)), jnp.float32)
MATRIX = jnp.asarray(np.random.default_rng(1).normal(size=(6, 6)) / 2, jnp.float32)
SAMPLES = {"noise": NOISE, "condition": NOISE[::-1]}
TIERS = {"velocity_skip_countdowns": [2], "velocity_sim_thresholds": [0.95]}


def _shifted(steps):
    return flow_schedule(steps, shift=3.0)


def _given(**schedule):
    """A calibration of StepCache, with what makes a schedule."""
    return calibrate(
        MATRIX,
        dense,
        SAMPLES,
        target={"model_calls": 5},
        cache="step_cache",
        cache_config=TIERS,
        solver="euler",
        **schedule,
    )


def test_a_function_of_the_step_count_makes_the_plain_steps():
    """The same calibration as by steps and shift: setting, baseline and curve."""
    by_function = _given(schedule=_shifted, num_inference_steps=8)
    by_steps = _given(num_inference_steps=8, shift=3.0)
    assert by_function.cache_config == by_steps.cache_config
    assert by_function.curve == by_steps.curve
    assert by_function.baseline == by_steps.baseline
    assert by_function.options["schedule"] == _shifted(8)
    result = sample(
        MATRIX, model=dense, **SAMPLES | {"noise": NOISE}, **by_function.options
    )
    assert result.stats.computed.shape == (8,)


def test_a_schedule_is_compared_with_fewer_steps_of_its_own():
    """It is spread over as many plain steps, and the setting keeps it."""
    schedule = explicit_schedule(np.linspace(0.9, 0.05, 9) ** 1.5)
    found = _given(schedule=schedule)
    steps = max(int(found.model_calls), 1)
    shared = {"model": dense, "solver": "euler", **SAMPLES}
    reference = sample(MATRIX, schedule=schedule, **shared).sample
    plain = sample(MATRIX, schedule=fewer_steps(schedule, steps), **shared).sample
    assert found.baseline == pytest.approx(decibels(reference, plain), abs=1e-3)
    kept = found.to_json()["sampler"]["schedule"]
    assert json.loads(json.dumps(kept))["sigmas"] == list(schedule.sigmas)


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_fewer_steps_go_from_end_to_end(steps):
    """Between the same noise levels, in the same way; told as the schedule tells."""
    schedule = flow_schedule(12, shift=1.0)
    fewer = fewer_steps(schedule, steps)
    ends = [schedule.sigmas[0], schedule.sigmas[-1]]
    assert [fewer.sigmas[0], fewer.sigmas[-1]] == ends
    assert fewer.sigmas == pytest.approx(flow_schedule(steps, 1.0).sigmas)
    assert fewer.timesteps == explicit_schedule(fewer.sigmas).timesteps
    counted = explicit_schedule(schedule.sigmas, np.arange(12))
    assert fewer_steps(counted, steps).timesteps == pytest.approx(
        np.arange(steps) * 12 / steps
    )
    assert fewer_steps(schedule, 12).sigmas == pytest.approx(schedule.sigmas)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["step_cache", "cache_dit", "tuned"])
def test_samples_that_decide_for_themselves(cache):
    """The same setting, calls and quality as one by one, and it is kept for later."""
    given = {"noise": noise(), "condition": conditions()[0]}
    shared = {"target": {"model_calls": 4}, "num_inference_steps": 6, "cache": cache}
    config = {"max_warmup_steps": 1} if cache == "cache_dit" else None
    each, one_by_one = (
        calibrate(
            WEIGHTS, UNROLLED, given, cache_config=config, solver="euler", **shared, **x
        )
        for x in ({"decide": "sample"}, {})
    )
    assert each.cache_config == one_by_one.cache_config
    assert each.model_calls == one_by_one.model_calls
    assert each.quality == pytest.approx(one_by_one.quality, abs=0.1)
    assert each.options["decide"] == "sample"
    result = sample(WEIGHTS, model=UNROLLED, **given, **each.options)
    assert np.mean(result.stats.model_calls) == each.model_calls


def test_each_sample_may_have_a_guidance_scale():
    """As with `sample`, one for each row."""
    given = {
        "noise": noise(),
        "condition": conditions()[0],
        "negative_condition": conditions()[1],
    }
    found = calibrate(
        WEIGHTS,
        UNROLLED,
        given,
        target={"model_calls": 4},
        cache="step_cache",
        num_inference_steps=6,
        guidance_scale=[1.5, 3.0],
    )
    assert found.model_calls <= 4


def _zero(params, x, t, condition):
    return 0 * x


def _constant(params, x, t, condition):
    return jnp.ones_like(x) * params


def _nan(params, x, t, condition):
    return jnp.where(t[:, None] < 500, jnp.nan, x)


def _half(params, x, t, condition):
    """Not finite for the second sample."""
    return jnp.tanh(x) / condition


ODD = {
    "NaN": (_nan, None, r"answers with NaN or infinity: .* of samples \[0, 1\]"),
    "NaN of one sample": (_half, None, r"answers with NaN .* of samples \[1\]"),
    "constant": (_constant, None, "answer never changes: .* nothing to calibrate"),
    "zero": (_zero, None, "answers 0 at every step"),
    "noise": (
        dense,
        NOISE.at[1, 2].set(jnp.nan),
        r"samples\['noise'\] holds NaN.*\[1\]",
    ),
}


@pytest.mark.parametrize("cache", ["step_cache", "tuned"])
@pytest.mark.parametrize("decide", ["batch", "sample"])
@pytest.mark.parametrize("what", ODD)
def test_networks_that_leave_nothing_to_calibrate(what, cache, decide):
    """What is wrong with the answers is said, rather than a setting that is none."""
    network, given, message = ODD[what]
    params = 0.5 if what != "noise" else MATRIX
    condition = jnp.array([[1.0], [0.0]]) if network is _half else NOISE
    with pytest.raises(ValueError, match=message):
        calibrate(
            params,
            network,
            {"noise": NOISE if given is None else given, "condition": condition},
            target={"model_calls": 3},
            cache=cache,
            num_inference_steps=6,
            decide=decide,
        )


def test_one_sample_of_few_steps_is_enough():
    """The smallest calibration there is finds a setting."""
    found = calibrate(
        MATRIX,
        dense,
        jax.tree.map(lambda x: x[:1], SAMPLES),
        target={"model_calls": 2},
        cache="tuned",
        num_inference_steps=3,
        replay=False,
    )
    assert found.met
    assert sum(found.cache_config["steps_mask"]) == 2


def test_an_input_that_never_changes_has_no_polynomial():
    """TeaCache's fit says what is wrong, and what to do without it."""
    with pytest.raises(ValueError, match=r"1 different changes.*Give coefficients"):
        fit_polynomial(np.zeros(8), np.arange(8.0))


def test_a_calibration_is_not_written_over_a_folder(tmp_path):
    """Nothing is left beside it, either."""
    found = _given(schedule=_shifted(6))
    with pytest.raises(FileExistsError, match="is a folder; give the name of a file"):
        found.save(tmp_path)
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


GUIDED = {"noise": noise(), "condition": conditions()[0]} | {
    "negative_condition": conditions()[1]
}


@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_scales_of_each_sample_may_be_1(decide):
    """A row of scale 1 goes with its negative condition when it is sampled alone."""
    options = {"num_inference_steps": 6, "solver": "euler", "decide": decide}
    found = calibrate(
        WEIGHTS,
        UNROLLED,
        GUIDED,
        target={"model_calls": 4},
        cache="sea_cache",
        guidance_scale=[1.0, 2.0],
        **options,
    )
    assert found.met
    own = {name: x[:1] for name, x in GUIDED.items()}
    shared = {"model": UNROLLED, "num_inference_steps": 6, "solver": "euler"}
    alone = sample(WEIGHTS, guidance_scale=[1.0], **own, **shared).sample
    del own["negative_condition"]
    wanted = sample(WEIGHTS, guidance_scale=1.0, **own, **shared).sample
    np.testing.assert_allclose(alone, wanted, atol=1e-5)


def test_scales_of_1_among_others_are_refused_for_a_bundled_model():
    """By sample, before anything is sampled."""
    with pytest.raises(ValueError, match=r"guidance_scale is 1 for samples \[0\]"):
        calibrate(
            load_params("dit"),
            samples=2,
            target={"model_calls": 5},
            cache="mag_cache",
            guidance_scale=[1.0, 2.0],
        )


@pytest.mark.slow
def test_what_is_found_per_sample_serves_requests():
    """Requests decide each for itself, so they take decide="sample", and no other."""
    found = calibrate(
        MATRIX,
        dense,
        SAMPLES,
        target={"model_calls": 5},
        cache="step_cache",
        cache_config=TIERS,
        num_inference_steps=8,
        decide="sample",
    )
    requests = [{name: x[:1] for name, x in SAMPLES.items()}]
    (result,) = sample_many(MATRIX, requests, model=dense, **found.options)
    alone = sample(MATRIX, model=dense, **requests[0], **found.options)
    np.testing.assert_allclose(result.sample, alone.sample, atol=1e-5)
    with pytest.raises(ValueError, match="decide is 'batch'; requests decide each"):
        sample_many(MATRIX, requests, model=dense, decide="batch")


@pytest.mark.parametrize("place", [0, 1])
def test_changes_that_are_not_finite_are_told_apart_from_none(place):
    """NaN in what TeaCache looks at is not taken for an input that never changes."""
    changes = [np.arange(6.0), np.arange(6.0)]
    changes[place][2] = np.nan
    what = ("modulated input", "blocks' output")[place]
    with pytest.raises(ValueError, match=f"1 of 6 changes of the {what} are NaN"):
        fit_polynomial(*changes)
