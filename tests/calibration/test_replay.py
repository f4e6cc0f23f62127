"""Replaying decides and samples as the network does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import StagedDenoiser, explicit_schedule, sample
from jax_stepcache.calibration.fit import fit_response
from jax_stepcache.calibration.replay import replay_inside, replay_whole
from jax_stepcache.calibration.trajectory import follow, watch
from jax_stepcache.options import Options, resolve

from ..staged import (
    COMPUTING,
    NUM_BLOCKS,
    NUM_STEPS,
    ON_PURPOSE,
    RATIOS,
    UNROLLED,
    WEIGHTS,
    options,
)


def _embed(weights, x, t, condition):
    hidden, time = UNROLLED.embed(weights, x, t, condition)
    return hidden, (time, x, condition)


def _blocks(weights, hidden, context, start, stop):
    return UNROLLED.blocks(weights, hidden, context[0], start, stop)


def _head(weights, hidden, context):
    time, x, condition = context
    return jnp.tanh(x + time.sum() / len(x)) * condition.mean(axis=1)[:, None, None]


def _modulated(weights, hidden, context):
    return hidden + context[0]


class Telling(StagedDenoiser):
    """Tells what it makes of the timestep, and what it is shown of the sample."""

    def times(self, weights, hidden, context):
        time = context[0][:, 0]
        return {"embedding": jnp.cos(2 * time), "projection": jnp.exp(time)}

    def shown(self, sample, condition):
        return sample + 3 * condition.mean(axis=1)[:, None, None]


# Its blocks have no say in the velocity, so all trajectories agree, whatever a cache
# skips; what signals see of them changes from step to step as in any network.
AGREEING = StagedDenoiser(NUM_BLOCKS, _embed, _blocks, _head, _modulated)
TELLING = Telling(NUM_BLOCKS, _embed, _blocks, _head, _modulated)

# What the signal looks at, settings without the threshold, its name and values, and
# whether under guidance. Caches that look at the same thing share a compiled program.
SWEPT = {
    "tea_cache": ("modulated", {}, "rel_l1_thresh", np.geomspace(0.05, 2, 8), False),
    "cache_dit": (
        "first blocks",
        {"max_warmup_steps": 2},
        "residual_diff_threshold",
        np.geomspace(0.03, 0.9, 8),
        True,
    ),
    "first_block_cache": (
        "first blocks",
        {},
        "threshold",
        np.geomspace(0.03, 2, 8),
        True,
    ),
    "mag_cache": (
        "",
        {"mag_ratios": RATIOS},
        "mag_threshold",
        np.linspace(0.02, 0.6, 8),
        True,
    ),
    "di_cache": ("probe", {}, "rel_l1_thresh", np.geomspace(0.05, 2, 8), True),
    "sea_cache": ("sample", {}, "sea_threshold", np.geomspace(0.05, 2, 8), True),
}
ORIGINAL = {"original": True}
# Of a network that tells more: what is looked at is that.
TOLD = {
    "tea_cache": (
        "times",
        ORIGINAL,
        "rel_l1_thresh",
        np.geomspace(0.05, 2, 8),
        False,
    ),
    "tea_cache, projected": (
        "times",
        {**ORIGINAL, "use_ret_steps": True},
        "rel_l1_thresh",
        np.geomspace(0.02, 2, 8),
        False,
    ),
    "sea_cache": SWEPT["sea_cache"],
}


def swept(name, model, looks_at, config, setting, thresholds, guided):
    """The steps replayed of every threshold, and the statistics of `sample`."""
    shared = options(guided) | {"model": model}
    rest = ({**config, setting: float(t)} for t in thresholds)
    settings = [{**config, **COMPUTING[name]}, *rest]
    each = [
        resolve(WEIGHTS, Options(cache=name, cache_config=c, **shared))
        for c in settings
    ]
    policies = jax.tree.map(lambda *x: jnp.stack(x), *[one.policy for one in each])
    (trajectory,) = watch(WEIGHTS, [{}], each[0].policy.span, looks_at, **shared)
    replayed = np.asarray(replay_inside(each[0].program, policies, trajectory))
    stats = [
        sample(WEIGHTS, cache=name, cache_config=c, **shared).stats for c in settings
    ]
    np.testing.assert_array_equal(replayed, [one.computed for one in stats])
    assert replayed[0].all()
    calls = replayed[1:].sum(axis=1)
    assert calls.min() < NUM_STEPS
    assert len(np.unique(calls)) >= 3
    return replayed, stats


@ON_PURPOSE
@pytest.mark.parametrize("name", SWEPT)
def test_where_trajectories_agree_replaying_decides_as_the_sampler(name):
    """The steps replayed of every threshold are those that `sample` computes."""
    _, stats = swept(name, AGREEING, *SWEPT[name])
    looks_at, *_, guided = SWEPT[name]
    # All branches have the same sample.
    if guided and looks_at not in ("", "sample"):
        branches = np.stack([one.branches.computed for one in stats])
        assert (branches[..., 0] != branches[..., 1]).any(), "all branches agree"


@ON_PURPOSE
@pytest.mark.parametrize("name", TOLD)
def test_what_a_network_tells_is_replayed(name):
    """The embedded timestep, and what is shown of the sample, rather than the rest."""
    cache, *_ = name.split(",")
    replayed, _ = swept(cache, TELLING, *TOLD[name])
    if cache == "sea_cache":
        assert (replayed != swept(cache, AGREEING, *TOLD[name])[0]).any()


SCHEDULE = explicit_schedule(
    np.linspace(1, 0, NUM_STEPS + 1), 1000 * np.linspace(1, 0, NUM_STEPS + 1)[:-1]
)
RESPONSES = {"a": 0.7, "b": -0.3}
NOISE = {"a": jnp.array([[1.0, -0.5]]), "b": jnp.array([[0.3, 0.2, -1.0]])}


def _answering(params, x, t, condition):
    """A velocity that depends on the sample as `replay_whole` has it."""
    sigma = (t / 1000)[:, None]
    return {n: params[n] * x[n] / sigma + jnp.sin(9 * sigma) for n in x}


def ask(**cache):
    asked = Options(model=_answering, noise=NOISE, schedule=SCHEDULE, **cache)
    return resolve(RESPONSES, asked)


STEPS = {"steps_mask": [True, True, False, True, False, False, True, False]}


@pytest.fixture(scope="module")
def uncached():
    return follow(ask())


@pytest.fixture(scope="module")
def cached():
    return follow(ask(cache="static", cache_config=STEPS))


def _responses(a, b):
    return {"a": jnp.full(NUM_STEPS, a), "b": jnp.full(NUM_STEPS, b)}


def test_an_uncached_replay_is_the_sampler(uncached):
    """Where nothing is skipped the recorded velocities lead to the recorded sample."""
    arguments = ask()
    replayed = replay_whole(
        arguments.program, arguments.policy, uncached, _responses(0.0, 0.0)
    )
    assert np.asarray(replayed.stats.computed).all()
    real = sample(RESPONSES, model=_answering, noise=NOISE, schedule=SCHEDULE)
    for name in NOISE:
        np.testing.assert_allclose(replayed.sample[name], real.sample[name], atol=1e-6)
        np.testing.assert_allclose(uncached.end[name], real.sample[name], atol=1e-6)


def test_a_replay_with_the_true_response_is_the_cached_sampler(uncached, cached):
    """What the network would have said is worked out from how it responds."""
    arguments = ask(cache="static", cache_config=STEPS)
    run = functools.partial(replay_whole, arguments.program, arguments.policy, uncached)
    right, wrong = run(_responses(**RESPONSES)), run(_responses(0.0, 0.0))
    assert right.stats.computed.tolist() == STEPS["steps_mask"]
    for name in NOISE:
        np.testing.assert_allclose(right.sample[name], cached.end[name], atol=1e-5)
        assert np.abs(wrong.sample[name] - cached.end[name]).max() > 1e-3


def test_the_response_of_a_network_is_found(uncached, cached):
    """Two trajectories tell how each output answers."""
    assert cached.computed.tolist() == STEPS["steps_mask"]
    found = fit_response(uncached, [cached], SCHEDULE)
    for name, wanted in RESPONSES.items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-3)


def test_a_response_belongs_to_every_output(uncached):
    """One array for a sample of two is an error."""
    arguments = ask()
    with pytest.raises(ValueError, match="the sample's structure"):
        replay_whole(
            arguments.program, arguments.policy, uncached, jnp.zeros(NUM_STEPS)
        )
