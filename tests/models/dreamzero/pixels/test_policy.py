"""DreamZero behind a socket, with the original's messages."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import DreamZeroPipeline, policy_of
from jax_stepcache.serving.robots.opening import policy_from

from .messages import message
from .whole import tiny, tiny_folder

ROBOARENA = {
    "needs_wrist_camera": True,
    "n_external_cameras": 2,
    "needs_stereo_camera": False,
    "needs_session_id": True,
    "action_space": "joint_position",
}


@pytest.mark.slow
def test_the_metadata_is_the_originals():
    """RoboArena's client makes an object of exactly these."""
    policy = policy_of(tiny())
    said = dict(policy.metadata)
    assert len(said.pop("image_resolution")) == 2
    assert said == ROBOARENA
    # What its keys are, those may ask who look at /policy.
    assert "observation/gripper_position" in policy.message


@pytest.mark.slow
def test_a_pipeline_without_encoders_is_not_served():
    """And a robot of another kind says which keys it has."""
    with pytest.raises(ValueError, match="has no encoders"):
        policy_of(DreamZeroPipeline(tiny().params))
    policy = policy_from(tiny_folder(), embodiment="agibot", cache_backend="none")
    assert "observation/top_head" in policy.metadata["keys"]


@pytest.mark.slow
def test_a_robot_is_served():
    """Packed (24, 8) as the pipeline gives it by itself, reset, errors by key, film."""
    from tests.serving.robots.toy import Robot, serving

    pipeline = tiny()
    two = {"num_inference_steps": 2}
    with serving(policy_of(pipeline), slots=1) as (_, url), Robot(url) as robot:
        assert robot.metadata["needs_session_id"] is True
        asked = {"endpoint": "infer", "options": two}
        first = robot.ask(**message(), **asked)
        # A list of texts is its first, as datasets store them; and nothing else is.
        words = "['Fold the towel', 'no']"
        later = robot.ask(**message(frames=4, seed=1, prompt=words), **asked)
        told = robot.ask(**message(frames=4, wrist_image_left=None), **asked)
        assert "'observation/wrist_image_left'" in told["message"]
        again = robot.ask(**message(frames=4, seed=1), **asked)
        assert robot.ask(endpoint="reset") == "reset successful"
        anew = robot.ask(**message(), **asked)
    assert (first.shape, first.dtype) == ((24, 8), np.float32)
    session, limit = pipeline.start(), {"slots": 1, "max_inference_steps": 16}
    for said, seen in (
        (first, message()),
        (later, message(frames=4, seed=1)),
        (again, message(frames=4, seed=1)),
    ):
        (step,) = pipeline.step_many([session], [seen], **limit, **two)
        session = step.session
        np.testing.assert_allclose(said, step.reply, atol=1e-4)
    np.testing.assert_allclose(anew, first, atol=1e-4)


@pytest.mark.slow
def test_a_robot_that_sends_no_words_is_stepped():
    """As one that said nothing, with a warning; a prompt that is blank is refused."""
    policy = policy_of(tiny())
    session, own = policy.open(), {"num_inference_steps": 1}
    sent = message(prompt=None)
    with pytest.warns(UserWarning, match="lacks 'prompt'"):
        policy.check(session, sent, own)
    with pytest.warns(UserWarning, match="lacks 'prompt'"):
        (reply,) = policy.step_many([session], [sent], [own])
    assert np.isfinite(reply.actions).all()
    assert reply.session.text.endswith(". The robot ")
    with pytest.raises(ValueError, match="'prompt' is empty"):
        policy.check(session, message(prompt=" "), own)


@pytest.mark.slow
def test_a_session_is_saved_and_its_film_is_bounded(tmp_path):
    """A robot that is never reset would fill the host's memory with latents."""
    policy = policy_of(tiny())
    session, own = policy.open(), {"num_inference_steps": 1}
    for i in range(10):
        (reply,) = policy.step_many([session], [message(seed=i)], [own])
        session = reply.session
    assert len(session.film) == 8
    film = policy.film(session)
    assert film.shape[0] > 8
    # Decoded for the longest that there may be, which changes nothing.
    np.testing.assert_array_equal(film, policy._pipeline.film(session))
    policy.save(tmp_path, session)
    again = policy.load(tmp_path)
    ours = policy.step_many([again], [message(seed=99)], [own])[0].actions
    wanted = policy.step_many([session], [message(seed=99)], [own])[0].actions
    np.testing.assert_array_equal(ours, wanted)


@pytest.mark.slow
def test_nothing_compiles_once_it_is_ready():
    """Also where a window is full, or a prompt changes in the middle of one: the fifth
    message of a robot would make all others wait. Nor do films, however long."""
    from tests.serving.robots.toy import Robot, got, serving

    compiled = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.clear_caches()  # other tests may have compiled what this one listens for
    policy = policy_of(tiny())
    size = tuple(policy.metadata["image_resolution"])
    prompts = ["fold the towel"] * 7 + ["open the drawer"] * 5
    with serving(policy, slots=1) as (_, url), Robot(url) as robot:
        jax.monitoring.register_event_duration_secs_listener(listen)
        for i, prompt in enumerate(prompts):
            sent = message(frames=4 if i else 1, size=size, seed=i, prompt=prompt)
            said = robot.ask(**{**sent, "session_id": "arm"})
            assert "actions" in said
            status, film = got(url, "/film/arm")
            assert (status, len(film) > 0) == (200, True)
            assert not compiled, f"by message {i}"
        jax.jit(lambda x: x + 43)(1.0)
        assert compiled  # or nothing was listened to
        jax.monitoring.unregister_event_duration_listener(listen)
