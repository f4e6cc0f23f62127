"""What a robot sends becomes what the original's transforms made of it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import actions_to_robot, normalise_state
from jax_stepcache.models.dreamzero.pixels import canvas as pictures
from jax_stepcache.models.dreamzero.pixels import windows
from jax_stepcache.models.dreamzero.pixels.frames import FrameBuffer, shown
from jax_stepcache.models.dreamzero.pixels.prompt import NEGATIVE_PROMPT, prompt_text
from jax_stepcache.models.dreamzero.pixels.request import read_request
from jax_stepcache.models.transforms import Chain

from . import recorded_pixels as pixels
from .cases import parametrize, pixels_files
from .recorded_pixels import Recorded

# Canvases: within one level, in at most this part of the values.
PART = 2e-3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = pixels_files(metafunc.config)
    ids = [f"pixels-{file.name}" for file in files]
    parametrize(metafunc, "session", [Recorded(file) for file in files], ids)


def test_frames_are_the_buffers(session: Recorded) -> None:
    """The last frame at first, then the last four; the oldest repeated in front.

    The 5B server resizes each frame as it comes in, ours what it shows the model: the
    result is the same, and within a level of OpenCV's.
    """
    buffer, last = FrameBuffer(), None
    for call in session.calls():
        if pixels.begins_session(call, last):
            buffer = FrameBuffer()
        given = read_request(session.views, session.statistics, pixels.request(call))
        buffer, seen = shown(buffer, given.pictures)
        last = given.session_id
        wanted = pixels.frames(call)
        assert seen.keys() == wanted.keys()
        for camera, theirs in wanted.items():
            ours = seen[camera][None]
            if session.sizes.camera is None:
                np.testing.assert_array_equal(ours, theirs)
                continue
            resize, *_ = pictures.one_view(session.sizes)
            ours = resize({"frames": jnp.asarray(ours)})["frames"]
            assert pixels.levels_apart(ours, theirs)[0] <= 1


def test_views_and_canvases(session: Recorded) -> None:
    """Views before they are truncated to 1e-5; then within a level in 0.2 %."""
    *steps, last = pictures.one_view(session.sizes)
    for call in session.calls():
        seen = {name: jnp.asarray(x) for name, x in pixels.frames(call).items()}
        for camera, frames in seen.items():
            ours = Chain(tuple(steps))({"frames": frames})
            if f"resized/{camera}" in call:
                theirs = np.moveaxis(call[f"resized/{camera}"], 1, -1)[None]
                assert ours["frames"].shape == theirs.shape
                np.testing.assert_allclose(ours["frames"], theirs, atol=1e-5, rtol=0)
            if f"view_u8/{camera}" in call:
                view = last(ours)["frames"]
                levels = pixels.levels_apart(view, call[f"view_u8/{camera}"][None])
                assert levels[0] <= 1
        ours = pictures.canvas(session.sizes, session.views, seen)
        most, part = pixels.levels_apart(ours, call["canvas"])
        assert most <= 1
        assert part <= PART


def test_states_and_texts(session: Recorded) -> None:
    """States to 1e-5; texts are the original's before they are cleaned."""
    width = session.config["dit"]["max_state_dim"]
    for call in session.calls():
        given = read_request(session.views, session.statistics, pixels.request(call))
        state = normalise_state(session.statistics, given.state, width)
        np.testing.assert_allclose(state, call["state"], atol=1e-5, rtol=0)
        text = prompt_text(session.views, given.prompt)
        assert text == call["text"].item()
    assert session.arrays["negative_prompt"].item() == NEGATIVE_PROMPT


def test_windows_begin_where_the_originals_do(session: Recorded) -> None:
    """The position before and after each call; and what the latents were made of."""
    config, csf, last, ids = session.config, 0, None, None
    dit = config["dit"]
    block = dit["num_frame_per_block"]
    window = dit["max_chunk_size"] * block + 1
    for call in session.calls():
        if pixels.begins_session(call, last) and config["model"] == "ti2v":
            csf = 0
        assert csf == call["csf_before"]
        frames = call["canvas"].shape[1]
        new = ids is None or not np.array_equal(ids, call["ids"])
        begun = windows.begins(csf, window, new_prompt=new, frames=frames)
        assert begun == ("ys" in call)
        csf = 1 + block if begun else csf + block
        assert csf == call["csf_after"]
        last, ids = call["req/session_id"].item(), call["ids"]


def test_replies_are_in_the_robots_units(session: Recorded) -> None:
    """Recorded actions become the recorded reply: relative joints, absolute gripper."""
    robot = session.statistics.embodiment
    for call in session.calls():
        given = read_request(session.views, session.statistics, pixels.request(call))
        actions = call["out/action_normalised"]
        said = actions_to_robot(session.statistics, actions, given.state)
        reply = jnp.concatenate([said[key] for key in robot.action_keys], axis=-1)[0]
        assert reply.shape == call["reply"].shape
        np.testing.assert_allclose(reply, call["reply"], atol=1e-5, rtol=0)
