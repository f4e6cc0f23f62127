"""Robots' sessions on disk go on with the same numbers."""

import json

import numpy as np
import pytest

from jax_stepcache.checkpoints.weights import save_weights
from jax_stepcache.models.dreamzero import RobotSession

from ..robots import assert_same_bits, copied
from .messages import message
from .whole import STEPS, tiny


def test_a_session_that_has_not_begun_is_kept(tmp_path):
    """Nothing but what it is; the folder holds the one file."""
    pipeline = tiny()
    pipeline.save_session(tmp_path / "robot", pipeline.start())
    again = pipeline.load_session(tmp_path / "robot")
    assert isinstance(again, RobotSession)
    assert (again.id, again.csf, again.latents, again.film) == (None, 0, None, ())
    assert [path.name for path in tmp_path.iterdir()] == ["robot"]


@pytest.mark.slow
def test_a_session_from_disk_goes_on_with_the_same_numbers(tmp_path):
    """Frames, prompt, id, film and the transformer's session: every bit."""
    pipeline, file = tiny(), tmp_path / "robot"
    session = pipeline(pipeline.start(), message(), donate=False, **STEPS).session
    pipeline.save_session(file, session)
    again = pipeline.load_session(file)
    assert (again.id, again.csf, again.text) == ("one", 3, session.text)
    assert_same_bits(copied(again.latents), copied(session.latents))
    assert_same_bits(again.buffer.frames, session.buffer.frames)
    steps = [
        pipeline(one, message(frames=4, seed=1), donate=False, **STEPS)
        for one in (session, again)
    ]
    assert not steps[1].begins
    np.testing.assert_array_equal(steps[0].reply, steps[1].reply)
    np.testing.assert_array_equal(steps[0].film(), steps[1].film())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cameras": ["top"]}, r"cameras \['top'\]; this pipeline's has"),
        ({"film": 3}, "says that it has 3 film, and has 0"),
        ({"csf": None, "other": 1}, "does not say what it is of"),
    ],
)
def test_what_is_no_session_of_this_robot_is_named(tmp_path, changed, words):
    """Another robot's, one that lacks parts, one whose header says something else."""
    pipeline, file = tiny(), tmp_path / "robot"
    told = {"id": None, "csf": 0, "text": None, "cameras": [], "film": 0} | changed
    save_weights(file, {}, {"kind": "robot session", "session": json.dumps(told)})
    with pytest.raises(ValueError, match=words):
        pipeline.load_session(file)
