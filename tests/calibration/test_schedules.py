"""Which steps run, and what the others use."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import calibrate, sample
from jax_stepcache.calibration import schedules
from jax_stepcache.calibration.quality import decibels
from jax_stepcache.calibration.schedule_search import (
    FORECASTS,
    Candidate,
    climb,
    even_spread,
    named,
    settings_of,
)

NUM_STEPS, BUDGET = 8, 3
OPTIONS = {"num_inference_steps": NUM_STEPS, "solver": "euler"}
WEIGHTS = jax.random.normal(jax.random.key(1), (4, 4)) / 2
SAMPLES = {
    "noise": {
        "a": jax.random.normal(jax.random.key(2), (3, 4)),
        "b": jax.random.normal(jax.random.key(3), (3, 2)),
    },
    "condition": jnp.full((3, 4), 0.1),
}


def two_outputs(weights, x, t, condition):
    h = jnp.tanh(x["a"] @ weights + (t / 1000)[:, None]) + condition
    return {"a": h, "b": jnp.sin(3 * x["b"]) + h[:, :2]}


run = functools.partial(calibrate, WEIGHTS, two_outputs, SAMPLES, **OPTIONS)


@pytest.fixture(scope="module")
def searched():
    """A calibration, and how often a candidate was replayed for it."""
    asked = []
    real = schedules.replay_whole

    def replay(program, policy, trajectory, response):
        asked.append(policy)
        return real(program, policy, trajectory, response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules, "replay_whole", replay)
        return SimpleNamespace(
            found=run(target={"model_calls": BUDGET}), replays=len(asked)
        )


def sampled(**options):
    return sample(WEIGHTS, model=two_outputs, **{**OPTIONS, **SAMPLES, **options})


def check_schedule(calibration):
    """The schedule has so many steps, the first among them."""
    steps = calibration.fit["steps"]
    mask = calibration.cache_config["steps_mask"]
    assert np.flatnonzero(mask).tolist() == steps
    assert len(mask) == NUM_STEPS
    assert len(steps) == BUDGET == calibration.model_calls
    assert steps[0] == 0
    for point in calibration.curve:
        assert point.sampled
        assert point.setting["steps"][0] == 0


def test_a_schedule_is_ahead_of_plain_steps(searched):
    """Better than as many plain steps on every output, sampled again."""
    found = searched.found
    check_schedule(found)
    result = sampled(**found.options)
    assert result.stats.computed.tolist() == found.cache_config["steps_mask"]
    reference = sampled().sample
    quality = decibels(reference, result.sample)
    assert quality == pytest.approx(found.quality, abs=0.1)
    fewer = OPTIONS | {"num_inference_steps": BUDGET}
    plain = sample(WEIGHTS, model=two_outputs, **fewer, **SAMPLES)
    assert found.baseline == pytest.approx(decibels(reference, plain.sample), abs=0.1)
    assert set(quality) == {"a", "b"}
    assert found.met
    assert all(quality[name] > found.baseline[name] for name in quality)


def test_few_of_many_candidates_are_sampled(searched):
    """Replaying chooses what the network is asked about."""
    count = len(searched.found.curve)
    settings = {repr(point.setting) for point in searched.found.curve}
    assert len(settings) == count, "one was sampled twice"
    assert 3 < count < searched.replays / 4


@pytest.fixture(scope="module")
def unreplayed():
    """A calibration that samples every candidate."""

    def never(*_):
        raise AssertionError("a candidate was replayed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules, "replay_whole", never)
        return run(target={"model_calls": BUDGET}, replay=False)


def test_every_candidate_may_be_sampled(unreplayed):
    """With ``replay=False`` nothing is replayed, and the rules are the same."""
    check_schedule(unreplayed)
    assert unreplayed.met
    assert len(unreplayed.curve) > len(FORECASTS)


def test_the_fewest_calls_that_are_good_enough(unreplayed):
    """A PSNR is looked for from two calls upwards; the curve has all that was tried."""
    wanted = min(unreplayed.quality.values()) - 0.1
    found = run(target={"psnr": wanted}, replay=False)
    assert found.met
    assert min(found.quality.values()) >= wanted
    assert found.model_calls == BUDGET
    check_schedule(found)
    calls = [point.model_calls for point in found.curve]
    assert calls == sorted(calls)
    assert set(calls) == {2.0, 3.0}
    assert all(p.psnr < wanted for p in found.curve if p.model_calls == 2)


@pytest.mark.parametrize("calls", [0.5, NUM_STEPS, 20])
def test_impossible_numbers_of_calls(calls):
    """As many calls as steps, or more, leave nothing to skip; none is none."""
    with pytest.raises(ValueError, match=f"has room for 1 to {NUM_STEPS - 1}"):
        run(target={"model_calls": calls})


def test_the_search_climbs_to_each_outputs_own_forecast():
    """Steps and the forecast of every output are found; each is scored once."""
    wanted = Candidate((0, 2, 5, 6), ("hold", "linear_x0, capped 1.5"), ("a", "b"))
    asked = []

    def score(one):
        asked.append(one)
        forecasts = zip(one.forecasts, wanted.forecasts, strict=True)
        off = np.abs(np.resize(one.steps, 4) - wanted.steps).sum()
        return sum(x == y for x, y in forecasts) - off

    start = even_spread(4, NUM_STEPS, ("a", "b"))
    assert start.steps == (0, 2, 4, 5)
    assert climb(score, start, 4, NUM_STEPS) == wanted
    assert len(set(asked)) == len(asked) > len(FORECASTS)
    assert all(len(one.steps) == 4 and one.steps[0] == 0 for one in asked)
    # One with fewer steps is first given more.
    assert climb(score, wanted._replace(steps=(0, 5)), 4, NUM_STEPS) == wanted


@pytest.mark.parametrize("name", FORECASTS)
def test_forecasts_go_through_json(name):
    """What the search finds is told by settings that lead back to the candidate."""
    for forecasts, outputs in (((name,), ()), ((name, "hold"), ("a", "b"))):
        candidate = Candidate((0, 3), forecasts, outputs)
        assert named((0, 3), settings_of(candidate.forecast())) == candidate
    assert named((0, 3), {"name": "linear", "damping": 0.123}) is None


def test_a_psnr_is_reached_by_the_fewest_calls_that_were_found():
    """Which of several schedules meets a PSNR is asked of its PSNR, not of its lead."""
    known = run(target={"model_calls": BUDGET}, replay=False)
    wanted = max(point.psnr for point in known.curve) - 0.1
    found = run(target={"psnr": wanted}, replay=False)
    assert found.met
    assert found.model_calls <= BUDGET < NUM_STEPS
    assert sum(found.cache_config["steps_mask"]) == found.model_calls > 0
