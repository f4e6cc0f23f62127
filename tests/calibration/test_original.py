"""Caches as in their authors' code for Wan are calibrated by what they look at."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Span, StagedDenoiser, calibrate, sample
from jax_stepcache.calibration.fit import fit_polynomial, mean_ratios
from jax_stepcache.calibration.trajectory import watch

from ..staged import NUM_BLOCKS, NUM_STEPS, ON_PURPOSE, UNROLLED, WEIGHTS, options, run


class Telling(StagedDenoiser):
    """Tells what it makes of the timestep."""

    def times(self, weights, hidden, context):
        time = context[:, 0]
        return {"embedding": jnp.cos(2 * time), "projection": jnp.exp(time)}


STAGES = UNROLLED.embed, UNROLLED.blocks, UNROLLED.head, UNROLLED.modulated
TELLING = Telling(NUM_BLOCKS, *STAGES)
GUIDED = options(guided=True)
SAMPLER = {k: GUIDED[k] for k in ("num_inference_steps", "solver", "guidance_scale")}
SAMPLES = {k: x for k, x in GUIDED.items() if k not in SAMPLER}
TARGET = {"model_calls": 6}
ORIGINAL = {"original": True}
MAG = {"cache": "mag_cache", "cache_config": {**ORIGINAL, "mag_retention_ratio": 0.0}}


def seen(looks_at):
    rows = [{k: x[i : i + 1] for k, x in SAMPLES.items()} for i in range(2)]
    return watch(WEIGHTS, rows, Span(), looks_at, model=TELLING, **SAMPLER)


@ON_PURPOSE  # Among the thresholds that are measured is one that skips nothing.
def test_mag_cache_has_a_curve_for_each_branch():
    """[2, steps], each the mean of its own branch, and sampled as promised."""
    found = calibrate(WEIGHTS, TELLING, SAMPLES, target=TARGET, **MAG, **SAMPLER)
    ratios = np.array(found.cache_config["mag_ratios"])
    each = np.stack([one.seen.ratio for one in seen("")])
    assert ratios.shape == (2, NUM_STEPS)
    np.testing.assert_allclose(ratios[:, 1:], each.mean(axis=0)[1:].T, atol=1e-5)
    assert (ratios[:, 0] == 1).all()
    assert np.abs(ratios[0] - ratios[1]).max() > 1e-3
    np.testing.assert_allclose(ratios.mean(axis=0), mean_ratios(seen("")), atol=1e-5)
    assert found.met
    assert found.model_calls < NUM_STEPS
    result = sample(WEIGHTS, model=TELLING, **SAMPLES, **found.options)
    assert float(result.stats.model_calls) == found.model_calls


def test_one_ratio_a_step_is_no_curve_of_both_branches():
    """It would be read as both in turn, of half as many steps; [2, steps] is."""
    one = {**ORIGINAL, "mag_ratios": [0.9] * NUM_STEPS}
    with pytest.raises(ValueError, match=r"one row of 8 ratios .* Give \[2, steps\]"):
        run("mag_cache", one, guided=True)
    both, turns = np.full((2, NUM_STEPS), 0.9), [0.9] * 2 * NUM_STEPS
    calls = [
        run("mag_cache", {**ORIGINAL, "mag_ratios": x}, guided=True).stats.computed
        for x in (both, turns)
    ]
    np.testing.assert_array_equal(*calls)


@pytest.mark.parametrize("name", ["embedding", "projection"])
def test_tea_cache_is_fitted_to_the_embedded_timestep(name):
    """The polynomial is over its changes, rather than the modulated input's."""
    config = {**ORIGINAL, "use_ret_steps": name == "projection"}
    given = {"cache": "tea_cache", "cache_config": config, "target": TARGET}
    found = calibrate(WEIGHTS, TELLING, SAMPLES, **given, **SAMPLER)
    trajectories = seen("times")
    changes = []
    for one in trajectories:
        x = np.asarray(one.seen.times[name], np.float64)
        mean = (np.abs(y).mean(axis=(2, 3)) for y in (np.diff(x, axis=0), x[:-1]))
        changes.append(np.divide(*mean))
    output = [np.asarray(one.seen.output_change)[1:] for one in trajectories]
    # The same for all samples and branches, but for rounding that a fit ignores.
    wanted = fit_polynomial(np.stack(changes), np.stack(output))
    assert found.fit["r_squared"] == pytest.approx(wanted.r_squared, abs=1e-3)
    x = np.stack(changes)
    got = np.polyval(found.fit["coefficients"], x)
    np.testing.assert_allclose(got, np.polyval(wanted.coefficients, x), atol=1e-3)
    assert found.met
    assert found.model_calls < NUM_STEPS
