"""What ships works: the bundled weights, and the schedules tuned for them."""

import json

import jax
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache.measure.metrics import psnr, rmse
from jax_stepcache.models import tabletop


@pytest.fixture(scope="module")
def params():
    return jax_stepcache.load_params()


@pytest.mark.slow
@pytest.mark.usefixtures("full_compilation")
def test_the_model_reaches_its_block(params):
    """Closed loop, most episodes end in time; the benchmark plays 512 of them."""
    policy = jax_stepcache.static_schedule(np.arange(16) % 2 == 0, "linear")
    outcome = tabletop.rollout(params, policy, jax.random.key(5), episodes=32)
    assert outcome.success.mean() >= 0.75
    np.testing.assert_array_equal(outcome.model_calls, 8)


def test_the_file_is_small_and_says_where_it_comes_from():
    """At most 4 MB, with the configuration, command, seed and commit that made it."""
    assert tabletop.WEIGHTS.stat().st_size <= 4_000_000
    account = json.loads(tabletop.WEIGHTS.with_suffix(".json").read_text())
    assert account["command"].startswith("python -m jax_stepcache.models.tabletop")
    assert len(account["commit"]) == 40
    assert account["settings"]["seed"] == 0
    assert account["steps_taken"] == account["settings"]["steps"]


def test_step_cache_computes_at_most_six_steps(params):
    """StepCache skips on the bundled model; without a cache all 16 steps run."""
    cached = jax_stepcache.sample(params, cache="step_cache")
    assert 2 <= cached.stats.model_calls <= 6
    assert cached.stats.computed.sum() == cached.stats.model_calls
    assert not cached.stats.nonfinite
    assert jax_stepcache.sample(params, cache=None).stats.model_calls == 16


@pytest.mark.parametrize("budget", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_tuned_schedules_keep_their_budget(params, budget):
    """``cache="tuned"`` makes exactly as many model calls as it was given."""
    result = jax_stepcache.sample(params, cache="tuned", budget=budget)
    assert result.stats.model_calls == budget < 16
    assert result.stats.computed[0]


@pytest.mark.slow
def test_tuned_schedules_beat_fewer_steps(params):
    """A tuned schedule is nearer to the uncached result than as many plain steps."""
    observation = params.model.example(jax.random.key(11), 8)

    def decoded(**options):
        result = jax_stepcache.sample(params, observation=observation, **options)
        return params.model.decode(result.sample)

    reference = decoded()
    tuned = decoded(cache="tuned", budget=6)
    plain = decoded(num_inference_steps=6)
    assert psnr(reference["video"], tuned["video"]) > psnr(
        reference["video"], plain["video"]
    )
    assert rmse(reference["action"], tuned["action"]) < rmse(
        reference["action"], plain["action"]
    )
