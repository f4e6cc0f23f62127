"""Sessions: windows, prompts, observations, donation."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.loop import program
from jax_stepcache.models.dreamzero import stack_sessions
from jax_stepcache.models.dreamzero.control import programs

from ..robots import (
    CONFIG,
    assert_same_bits,
    copied,
    observation,
    pipeline,
    prompts,
    robot,
    walk,
)

CLOSE = 1e-5


def test_positions_cycle_through_the_window() -> None:
    """One frame, then blocks of two; at the window's end, one frame again."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    positions, begins = [], []
    for seed in range(5):
        begins.append(bool(pipe.begins(session)[0]))
        step = pipe(session, observation(1, seed))
        assert step.begins.tolist() == [begins[-1]]
        assert step.frames().shape[1] == (3 if begins[-1] else 2)
        session = step.session
        positions.append(int(session.position[0]))
    assert CONFIG.window == 5
    assert positions == [3, 5, 3, 5, 3]
    assert begins == [True, False, True, False, True]


def test_a_window_that_begins_anew_forgets() -> None:
    """After the reset everything is as in a session that has just begun."""
    pipe = pipeline()
    old = walk(pipe, pipe.start(*prompts(1)), [1, 2])
    new = pipe.start(*prompts(1))
    a, b = (pipe(session, observation(1, 7)) for session in (old, new))
    np.testing.assert_array_equal(a.video, b.video)
    np.testing.assert_array_equal(a.action, b.action)
    a, b = (pipe(step.session, observation(1, 8)) for step in (a, b))
    np.testing.assert_array_equal(a.video, b.video)


def test_a_whole_session_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten control steps, across window resets: one trace of prefill, one of denoise."""
    traced = []

    def counted(name, function):
        def wrapped(*args, **kwargs):
            traced.append(name)
            return function(*args, **kwargs)

        return wrapped

    observe = programs.sessions.observe
    monkeypatch.setattr(programs.sessions, "observe", counted("prefill", observe))
    monkeypatch.setattr(program, "forward_of", counted("denoise", program.forward_of))
    # A step count of this test's own, so that no earlier program fits.
    pipe = pipeline(cache_backend="step_cache")
    session = pipe.start(*prompts(5))
    for seed in range(10):
        step = pipe(session, observation(5, seed), num_inference_steps=7)
        session = step.session
    assert sorted(traced) == ["denoise", "prefill"]


def test_a_changed_prompt_begins_a_window_for_that_robot_alone() -> None:
    """The same prompt again changes nothing; another one restarts its own robot."""
    pipe = pipeline()
    text, negative = prompts(2)
    session = walk(pipe, pipe.start(text, negative), [0])
    before = copied(session)
    session = pipe.prompt(session, text, negative)
    assert_same_bits(before, session)
    other, _ = prompts(2, seed=5)
    session = pipe.prompt(session, text.at[1].set(other[1]), negative)
    assert session.position.tolist() == [3, 0]
    assert pipe.begins(session).tolist() == [False, True]
    shown = observation(2, 4)
    step = pipe(session, shown)
    fresh = pipe(pipe.start(other[1:], negative[1:]), robot(shown, 1))
    np.testing.assert_allclose(step.video[1:], fresh.video, atol=CLOSE)


def test_restart_begins_a_window_at_any_position() -> None:
    """As where the original is shown a single frame."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(2)), [0])
    shown = observation(2, 3) | {"restart": np.array([True, False])}
    step = pipe(session, shown)
    assert step.session.position.tolist() == [3, 5]
    fresh = pipe(pipe.start(*(t[:1] for t in prompts(2))), robot(observation(2, 3), 0))
    np.testing.assert_allclose(step.video[:1], fresh.video, atol=CLOSE)


def test_only_what_is_read_matters() -> None:
    """Frames shown to a robot that begins a window, and the first frame of one that
    does not, have no effect; not even a NaN."""
    pipe = pipeline()
    texts = prompts(2)
    begun = walk(pipe, pipe.start(*(t[:1] for t in texts)), [0])
    session = stack_sessions([begun, pipe.start(*(t[1:] for t in texts))])
    shown = observation(2, 1)
    spoiled = {name: x.copy() for name, x in shown.items()}
    spoiled["latents"][1] = np.nan
    spoiled["image"][0] = np.nan
    spoiled["y"][0] = np.nan
    a, b = (pipe(session, x, donate=False) for x in (shown, spoiled))
    assert_same_bits(copied(a[:3]), copied(b[:3]))
    assert not a.stats.nonfinite


def test_guidance_scale_one_runs_one_branch() -> None:
    """Without guidance a session has one row, and its video is the conditional's."""
    alone = pipeline(guidance_scale=1.0)
    text, negative = prompts(1)
    session = alone.start(text)
    assert session.cache.k.shape[1] == 1
    step = alone(session, observation(1, 0))
    # uncond + 1 * (cond - uncond) of a guided pipeline, by a scale close to one.
    guided = pipeline(guidance_scale=1.0 + 1e-6)
    other = guided(guided.start(text, negative), observation(1, 0))
    np.testing.assert_allclose(step.video, other.video, atol=1e-3)
    np.testing.assert_allclose(step.action, other.action, atol=1e-4)


def test_a_step_writes_into_the_sessions_buffers() -> None:
    """The KV cache stays where it is; with donate=False the session can go on."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    kept = copied(session)
    step = pipe(session, observation(1, 0), donate=False)
    assert_same_bits(copied(session), kept)
    where = session.cache.k.unsafe_buffer_pointer()
    again = pipe(session, observation(1, 0))
    assert session.cache.k.is_deleted()
    assert again.session.cache.k.unsafe_buffer_pointer() == where
    assert_same_bits(copied(step[:3]), copied(again[:3]))


def test_a_window_that_begins_anew_heals() -> None:
    """A frame that was not finite says so, and is gone with its window: not one NaN
    is left to be multiplied by the zeros of the mask."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0])
    broken = observation(1, 1)
    broken["latents"][:] = np.nan
    step = pipe(session, broken)
    assert step.stats.nonfinite
    restarted = observation(1, 2) | {"restart": np.array([True])}
    steps = [pipe(step.session, restarted)]
    steps.append(pipe(steps[-1].session, observation(1, 3)))
    fresh = [pipe(pipe.start(*prompts(1)), observation(1, 2))]
    fresh.append(pipe(fresh[-1].session, observation(1, 3)))
    for ours, theirs in zip(steps, fresh, strict=True):
        assert_same_bits(copied(ours[1:3]), copied(theirs[1:3]))
    assert_same_bits(copied(steps[-1].session), copied(fresh[-1].session))


def test_a_control_step_may_be_part_of_a_program() -> None:
    """Inside `jax.jit` a step is given every field, for it may be anywhere."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0])
    shown = observation(1, 1)
    inside = jax.jit(lambda session, shown: pipe(session, shown)[:3])(session, shown)
    outside = pipe(session, shown)
    for a, b in zip(inside[1:], outside[1:3], strict=True):
        np.testing.assert_allclose(a, b, atol=CLOSE)
