"""Guidance at some noise levels only, and the unconditional branch asked only there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Request, flow_schedule, sample, sample_many, summary
from jax_stepcache.measure.flops import forward_flops

from ..staged import NUM_STEPS, UNROLLED, WEIGHTS, conditions, noise, options, run

INTERVAL = (0.3, 0.8)
SHARED = {"guided": True, "guidance_interval": INTERVAL}
MASK = [True, True, False, True, False, True, False, True]


def test_outside_there_is_the_conditional_branch_alone():
    """Kynkäänniemi's rule, step by step: guidance where ``lo < sigma <= hi``."""
    schedule, x, rows = flow_schedule(NUM_STEPS, shift=1.0), noise(), conditions()

    def said(x, step, row):
        t = jnp.full(len(x), schedule.timesteps[step], jnp.float32)
        return UNROLLED(WEIGHTS, x, t, row)

    asked = []
    for step, (level, after) in enumerate(
        zip(schedule.sigmas[:-1], schedule.sigmas[1:], strict=True)
    ):
        velocity = said(x, step, rows[0])
        asked.append(INTERVAL[0] < level <= INTERVAL[1])
        if asked[-1]:
            other = said(x, step, rows[1])
            velocity = other + 2.0 * (velocity - other)
        x = x + (after - level) * velocity
    ours = run(None, **SHARED)
    np.testing.assert_allclose(ours.sample, x, atol=1e-5)
    assert ours.stats.branches.computed[:, 1].tolist() == asked
    assert ours.stats.branches.computed[:, 0].all()
    assert 0 < sum(asked) < NUM_STEPS
    assert f"{sum(asked)} its unconditional branch" in repr(ours.stats)


def test_all_levels_are_guidance_as_ever():
    """An interval that leaves nothing out changes nothing."""
    usual = run(None, guided=True)
    same = run(None, guided=True, guidance_interval=(0.0, 1.0))
    np.testing.assert_allclose(usual.sample, same.sample, atol=1e-6)


@pytest.mark.parametrize(
    ("cache", "config"),
    [
        ("static", {"steps_mask": MASK}),
        (
            "cfg_cache",
            {
                "unconditional_batch_skip_range": 3,
                "unconditional_batch_timestep_skip_range": (-1, 950),
            },
        ),
    ],
)
def test_each_sample_and_each_request_as_alone(cache, config):
    """A batch, samples that decide apart, and requests in slots do the same."""
    together = run(cache, config, **SHARED)
    apart = run(cache, config, decide="sample", **SHARED)
    np.testing.assert_allclose(together.sample, apart.sample, atol=1e-5)
    ran = np.asarray(together.stats.branches.computed)
    assert (np.asarray(apart.stats.branches.computed) == ran).all()
    assert 0 < ran[:, 1].sum() < ran[:, 0].sum()
    requests = [
        Request(
            noise=noise()[i : i + 1],
            condition=conditions()[0][i : i + 1],
            negative_condition=conditions()[1][i : i + 1],
            num_inference_steps=NUM_STEPS,
            guidance_scale=2.0,
            cache=cache,
            cache_config=config,
        )
        for i in (0, 1, 0)
    ]
    results = sample_many(
        WEIGHTS,
        requests,
        slots=2,
        model=UNROLLED,
        solver="euler",
        guidance_interval=INTERVAL,
    )
    for i, result in zip((0, 1, 0), results, strict=True):
        np.testing.assert_allclose(result.sample[0], together.sample[i], atol=1e-5)
        assert (result.stats.branches.computed == ran).all()


def test_operations_are_those_of_the_branches_that_ran():
    """What is not asked is not counted, and both branches are one program."""
    given = options(guided=True) | {"model": UNROLLED, "cache": None}
    flops = forward_flops(WEIGHTS, guidance_interval=INTERVAL, **given)
    both = forward_flops(WEIGHTS, **given)
    stats = run(None, **SHARED).stats
    ran = int(np.asarray(stats.branches.computed).sum())
    assert flops.of(stats) == both.span * ran // 2 < both.span * NUM_STEPS

    def sampler(noise):
        more = {**given, "noise": noise, "guidance_interval": INTERVAL}
        return sample(WEIGHTS, **more).sample

    products = str(jax.make_jaxpr(sampler)(noise())).count("dot_general[")
    plain = {k: x for k, x in given.items() if "guid" not in k and "negat" not in k}

    def unguided(noise):
        return sample(WEIGHTS, **{**plain, "noise": noise}).sample

    assert products == str(jax.make_jaxpr(unguided)(noise())).count("dot_general[")


@pytest.mark.slow
@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_it_has_a_derivative(decide):
    """That of the scale is what a small change of it makes."""

    def total(scale, **more):
        given = {"guidance_scale": scale, "decide": decide, **SHARED, **more}
        return run(None, **given).sample.sum()

    found = jax.grad(lambda scale: total(scale, differentiable=True))(2.0)
    near = (total(2.01) - total(1.99)) / 0.02
    np.testing.assert_allclose(found, near, rtol=1e-2)


@pytest.mark.parametrize(
    "given", [(0.8, 0.2), 0.5, (0.1, 0.2, 0.3), "all", (0, np.nan)]
)
def test_bad_intervals(given):
    """Two numbers that rise, or an error by name."""
    with pytest.raises(ValueError, match=r"guidance_interval is .* lower one\s+first"):
        run(None, guided=True, guidance_interval=given)
    with pytest.raises(ValueError, match=r"guidance_interval is"):
        run(None, guided=False, guidance_interval=given)


def test_an_interval_is_no_cache_that_skips():
    """That a cache has skipped nothing is said all the same."""
    config = {"steps_mask": [True] * NUM_STEPS}
    with pytest.warns(UserWarning, match="skip no step"):
        result = run("static", config, **SHARED)
    assert "nothing was skipped" in repr(result.stats)
    assert "nothing skipped: " in str(summary(result))
