"""What is calibrated on is what robots in sessions ask."""

import jax
import numpy as np
import pytest

from jax_stepcache import Params, calibrate
from jax_stepcache.models.dreamzero import LatentPipeline, init_weights
from jax_stepcache.models.metaworld import MetaworldModel, Rollout, metaworld_config
from jax_stepcache.models.metaworld.conditions import conditions
from jax_stepcache.models.worlds.policy import WorldPolicy

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))


@pytest.fixture(scope="module")
def params():
    return Params(init_weights(MODEL.dit, jax.random.key(0)), MODEL)


def lived(chunks):
    """Episodes that nobody has simulated: of so many chunks each."""
    rng = np.random.default_rng(0)
    each = [rng.integers(0, 256, (1 + 2 * n, 64, 64, 3), np.uint8) for n in chunks]
    states = [rng.uniform(0, 1, (n, 4)).astype(np.float32) for n in chunks]
    count = len(chunks)
    nothing = np.zeros(count, np.float32)
    tasks = ("reach", "push")[:count]
    return Rollout(nothing > 0, nothing, nothing, tasks, each, [], states, nothing)


@pytest.mark.slow
def test_conditions_are_those_of_sessions_at_the_same_moments(params):
    """Wherever in a window: what a policy that steps from the first picture holds."""
    outcome = lived((2, 6))
    found = conditions(params, outcome, jax.random.key(1), 8)
    cache, states = found["condition"].cache, found["condition"].state
    policy = WorldPolicy(LatentPipeline(params))
    for episode, task in enumerate(outcome.tasks):
        session = policy.open()
        for chunk, state in enumerate(outcome.states[episode]):
            seen = outcome.seen[episode][max(2 * chunk - 1, 0) : 2 * chunk + 1]
            sent = {"observation/image": seen, "observation/state": state}
            (reply,) = policy.step_many([session], [{**sent, "prompt": task}], [{}])
            session = reply.session
            own = MODEL.normalised_state(state)
            (row,) = np.flatnonzero((np.asarray(states)[:, 0] == own).all(axis=1))
            held = session.latents.cache
            assert cache.length[row] == held.length[0] == 1 + 2 * (chunk % 4)
            tokens = int(held.length[0]) * MODEL.dit.frame_seqlen
            for ours, theirs in ((cache.k, held.k), (cache.v, held.v)):
                np.testing.assert_allclose(
                    ours[:, row, :tokens], theirs[:, 0, :tokens], atol=1e-5
                )


@pytest.mark.slow
def test_settings_are_found_on_them(params):
    """Conditions have their rows behind the layers, and some of them are taken."""
    samples = conditions(params, lived((4,)), jax.random.key(1), 4)
    common = {"samples": samples, "key": jax.random.key(2)}
    found = calibrate(params, cache="tuned", target={"model_calls": 3}, **common)
    assert found.model_calls == 3
    fit = {"steps": 2, "batch": 1}
    table = calibrate(
        params, cache="bespoke", target={"model_calls": 3}, fit=fit, **common
    )
    assert table.model_calls == 3


def test_more_moments_than_there_were_are_not_drawn(params):
    with pytest.raises(ValueError, match=r"6 moments are wanted of 1 episodes.* 4"):
        conditions(params, lived((2, 4)), jax.random.key(1), 7)
