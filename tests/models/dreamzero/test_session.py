"""Sessions: windows, prompts, batches, donation, and disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.loop import program
from jax_stepcache.models.dreamzero import (
    pipeline as pipeline_module,
)
from jax_stepcache.models.dreamzero import split_sessions, stack_sessions

from .robots import (
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


@pytest.mark.parametrize("cache", ["none", "static"])
def test_robots_side_by_side_get_what_they_get_alone(cache: str) -> None:
    """Three sessions at three positions of the window, in one batch and one by one."""
    mask = {"steps_mask": np.arange(16) % 2 == 0} if cache == "static" else None
    pipe = pipeline(cache_backend=cache, cache_config=mask)
    texts = prompts(3)
    alone = [
        walk(pipe, pipe.start(*(t[i : i + 1] for t in texts)), list(range(i)))
        for i in range(3)
    ]
    assert [int(session.position[0]) for session in alone] == [0, 3, 5]
    together = stack_sessions(alone)
    for seed in (10, 11, 12):
        shown = observation(3, seed)
        side_by_side = pipe(together, shown)
        together = side_by_side.session
        for i, session in enumerate(alone):
            step = pipe(session, robot(shown, i))
            alone[i] = step.session
            ours = jax.tree.map(lambda x, i=i: x[i : i + 1], side_by_side[1:3])
            for a, b in zip(ours, step[1:3], strict=True):
                np.testing.assert_allclose(a, b, atol=CLOSE)
            assert bool(side_by_side.begins[i]) == bool(step.begins[0])
    for ours, session in zip(split_sessions(together), alone, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=CLOSE), ours, session
        )


@given(order=st.permutations(range(3)))
def test_sessions_are_put_together_and_taken_apart(order: list[int]) -> None:
    """Stacking and splitting are inverses, in any order."""
    pipe = pipeline()
    texts = prompts(3)
    alone = [pipe.start(*(t[i : i + 1] for t in texts)) for i in order]
    parts = split_sessions(stack_sessions(alone))
    assert_same_bits(parts, alone)
    assert_same_bits(stack_sessions(parts[:1]), alone[0])


def test_a_whole_session_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten control steps, across window resets: one trace of prefill, one of denoise."""
    traced = []

    def counted(name, function):
        def wrapped(*args, **kwargs):
            traced.append(name)
            return function(*args, **kwargs)

        return wrapped

    observe = pipeline_module.sessions.observe
    monkeypatch.setattr(
        pipeline_module.sessions, "observe", counted("prefill", observe)
    )
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


_RESUMED = """
import sys
import jax
from pathlib import Path
import numpy as np
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)  # as in this module
from tests.models.dreamzero.robots import observation, pipeline
pipe = pipeline()
step = pipe(pipe.load_session(sys.argv[1]), observation(1, 9))
pipe.save_session(sys.argv[2], step.session)
np.save(sys.argv[3], step.video)
"""


def test_a_saved_session_is_the_same_bits(tmp_path: Path) -> None:
    """Before the first step and after each one, across the window's reset."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    for seed in range(4):
        pipe.save_session(tmp_path / "session", session)
        loaded = pipe.load_session(tmp_path / "session")
        assert_same_bits(copied(loaded), copied(session))
        session = walk(pipe, session, [seed])


@pytest.mark.slow
def test_a_saved_session_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Restored in a new process, it ends where the one that went on does."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0, 1])
    saved, after, video = (tmp_path / name for name in ("a", "b", "video.npy"))
    pipe.save_session(saved, session)
    assert_same_bits(copied(pipe.load_session(saved)), copied(session))
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", _RESUMED, saved, after, video]
    subprocess.run(command, check=True, cwd=root)
    step = pipe(session, observation(1, 9))
    assert np.load(video).tobytes() == np.asarray(step.video).tobytes()
    assert_same_bits(copied(pipe.load_session(after)), copied(step.session))


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


def test_sessions_of_different_models_do_not_stack() -> None:
    """Nor do those with guidance and those without."""
    session = pipeline().start(*prompts(1))
    other = session._replace(text=session.text[:, :2])
    with pytest.raises(ValueError, match="different models"):
        stack_sessions([session, other])
    alone = pipeline(guidance_scale=1.0).start(prompts(1)[0])
    with pytest.raises(ValueError, match="guided and some are not"):
        stack_sessions([session, alone])
    with pytest.raises(ValueError, match="at least one"):
        stack_sessions([])


def test_a_control_step_may_be_part_of_a_program() -> None:
    """Inside `jax.jit` a step is given every field, for it may be anywhere."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0])
    shown = observation(1, 1)
    inside = jax.jit(lambda session, shown: pipe(session, shown)[:3])(session, shown)
    outside = pipe(session, shown)
    for a, b in zip(inside[1:], outside[1:3], strict=True):
        np.testing.assert_allclose(a, b, atol=CLOSE)


_ON_A_MESH = """
import jax
import numpy as np
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)
from jax_stepcache import Params
from jax_stepcache.checkpoints.placement import placement
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero import pipeline as module
from jax_stepcache.sampling import _run
from tests.models.dreamzero.robots import MODEL, PARAMS, observation, pipeline, prompts

mesh = jax.make_mesh((2,), ("x",))
spread = jax.tree.map(
    lambda x: jax.device_put(x, placement(mesh, x.shape)), PARAMS.weights
)
one, two = pipeline(), DreamZeroPipeline(Params(spread, MODEL), cache_backend="none")
sessions = [pipe.start(*prompts(1)) for pipe in (one, two)]
compiled = []
for seed in range(4):
    shown = observation(1, seed)
    steps = [p(s, shown) for p, s in zip((one, two), sessions, strict=True)]
    sessions = [step.session for step in steps]
    np.testing.assert_allclose(steps[0].video, steps[1].video, atol=1e-4)
    compiled.append((module._observe_in_place._cache_size(), _run._cache_size()))
assert len(sessions[1].cache.k.sharding.device_set) == 2
assert compiled[0] == compiled[-1], compiled
"""


@pytest.mark.slow
def test_a_session_on_a_mesh_is_one_program_too() -> None:
    """Two devices get one device's numbers, and no step compiles another program for
    where the last one has left the session."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run(
        [sys.executable, "-c", _ON_A_MESH],
        check=True,
        cwd=Path(__file__).parents[3],
        env=environment,
    )
