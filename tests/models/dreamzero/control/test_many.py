"""Many robots' sessions as requests: each gets what it gets alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import stack_sessions

from ..robots import (
    MODEL,
    assert_same_bits,
    copied,
    observation,
    pipeline,
    prompts,
    walk,
)

CLOSE = 1e-5
LOOSE = {"velocity_sim_thresholds": [-1.0], "velocity_skip_countdowns": [4]}
STRICT = {"velocity_sim_thresholds": [0.999999], "velocity_skip_countdowns": [2]}


def robots(pipe, count):
    """Sessions at as many positions of the window, and what each sees next."""
    texts = prompts(count)
    sessions = [
        walk(pipe, pipe.start(*(t[i : i + 1] for t in texts)), list(range(i % 3)))
        for i in range(count)
    ]
    return sessions, [observation(1, 10 + i) for i in range(count)]


@pytest.mark.slow
def test_each_robot_gets_the_step_it_would_get_alone() -> None:
    """Own KV cache, position, prompt and thresholds; more robots than slots."""
    pipe = pipeline(cache_backend="step_cache", cache_config=LOOSE)
    sessions, shown = robots(pipe, 3)
    assert len({int(session.position[0]) for session in sessions}) == 3
    configs = [LOOSE, STRICT, LOOSE]
    steps = {"num_inference_steps": 4}
    alone = []
    for session, seen, config in zip(sessions, shown, configs, strict=True):
        one = pipeline(cache_backend="step_cache", cache_config=config)
        alone.append(one(copied(session), seen, **steps))
    # The pipeline's backend has its settings; a cache by name leaves them to robots.
    together = pipeline().step_many(
        sessions,
        shown,
        each=[{"cache_config": config} for config in configs],
        slots=2,
        cache="step_cache",
        **steps,
    )
    for ours, wanted in zip(together, alone, strict=True):
        assert ours.stats.computed.tolist() == wanted.stats.computed.tolist()
        for a, b in zip(ours[1:3], wanted[1:3], strict=True):
            np.testing.assert_allclose(a, b, atol=CLOSE)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=CLOSE),
            ours.session,
            wanted.session,
        )
    assert [int(step.stats.model_calls) for step in together] == [2, 4, 2]


@pytest.mark.slow
def test_solvers_that_draw_noise_draw_it_from_each_robots_key() -> None:
    """Alone, among others or in a batch; another key draws other noise."""
    pipe = pipeline()
    sessions, shown = robots(pipe, 2)
    options = {"num_inference_steps": 3, "solver": "lcm", "donate": False}
    keys = [jax.random.key(1), jax.random.key(2)]
    noise = jax.tree.map(lambda x: jnp.zeros(x.shape), MODEL.noise_struct(1))

    def alone(i: int, key: jax.Array) -> jax.Array:
        return pipe(sessions[i], shown[i], noise=noise, key=key, **options).video

    many = pipe.step_many(sessions, shown, noises=[noise] * 2, keys=keys, **options)
    for i, step in enumerate(many):
        np.testing.assert_allclose(step.video, alone(i, keys[i]), atol=CLOSE)
    assert np.abs(many[0].video - alone(0, keys[1])).max() > 1e-2
    twice = {k: np.concatenate([x[k] for x in shown]) for k in shown[0]}
    rows = jax.tree.map(lambda x: jnp.concatenate([x] * 2), noise)
    batch = stack_sessions(sessions), twice
    together = pipe(*batch, noise=rows, key=keys[0], **options).video
    for i, video in enumerate(together):
        np.testing.assert_allclose(video[None], alone(i, keys[0]), atol=CLOSE)


def test_robots_of_one_session_decide_for_themselves() -> None:
    """decide="sample" on a batched session: each robot as alone, whoever is with it."""
    config = {"velocity_sim_thresholds": [0.97], "velocity_skip_countdowns": [3]}
    pipe = pipeline(cache_backend="step_cache", cache_config=config)
    sessions, _ = robots(pipe, 2)
    shown = observation(2, 5)
    steps = {"num_inference_steps": 4}
    together = pipe(stack_sessions(sessions), shown, decide="sample", **steps)
    for i, session in enumerate(sessions):
        step = pipe(session, {k: x[i : i + 1] for k, x in shown.items()}, **steps)
        assert (together.stats.computed[i] == step.stats.computed).all()
        np.testing.assert_allclose(together.video[i], step.video[0], atol=CLOSE)


def test_what_is_wrong_with_one_robot_is_told_and_takes_no_session() -> None:
    """The error names the robot; all sessions can still be stepped on."""
    pipe = pipeline()
    sessions, shown = robots(pipe, 2)
    kept = copied(sessions)
    with pytest.raises(ValueError, match=r"sessions\[1\]: .*state"):
        pipe.step_many(sessions, [shown[0], {"latents": shown[1]["latents"]}])
    with pytest.raises(ValueError, match="observations has 1 entries for 2 robots"):
        pipe.step_many(sessions, shown[:1])
    with pytest.raises(ValueError, match=r"sessions\[0\]: it holds 2 robots"):
        pipe.step_many([stack_sessions(sessions)], [observation(2, 0)])
    with pytest.raises(ValueError, match=r"sessions\[1\].*'shift'"):
        pipe.step_many(sessions, shown, each=[{}, {"shif": 2.0}])
    for options, words in (
        ({"slots": 0}, "slots is 0"),
        ({"decide": "batch"}, "decide is 'batch'"),
        ({"each": [{}, {"forecast": "linear"}]}, r"sessions\[1\].*structure"),
    ):
        with pytest.raises(ValueError, match=words):
            pipe.step_many(sessions, shown, **{"cache": "step_cache"} | options)
    for options, words in (
        ({"decided": "sample"}, "unknown option 'decided'"),
        ({"key": jax.random.key(1)}, r"give keys=\[...\]"),
        ({"each": [{}, {"noise": None}]}, r"sessions\[1\].*noises="),
    ):
        with pytest.raises(TypeError, match=words):
            pipe.step_many(sessions, shown, **options)
    with pytest.raises(ValueError, match=r"sessions\[1\]: it was given before"):
        pipe.step_many(sessions[:1] * 2, shown)
    assert pipe.step_many([], []) == []
    assert_same_bits(sessions, kept)
