"""A message that does not fit is refused by its key, with what came and what fits."""

import numpy as np
import pytest

from jax_stepcache.models.dreamzero.pixels.prompt import prompt_text
from jax_stepcache.models.dreamzero.pixels.request import read_request
from jax_stepcache.models.dreamzero.pixels.views import get_views

from .messages import STATISTICS, message

VIEWS = get_views("oxe_droid")
WRIST = "observation/wrist_image_left"


def _read(sent):
    return read_request(VIEWS, STATISTICS, sent)


def test_a_message_is_read_under_the_originals_names():
    """The server's exterior cameras 0 and 1 are the transforms' 1 and 2."""
    sent = message(frames=2)
    sent["observation/cartesian_position"] = np.zeros(6)
    got = _read(sent)
    first = sent["observation/exterior_image_0_left"]
    np.testing.assert_array_equal(got.pictures["exterior_image_1_left"], first)
    np.testing.assert_array_equal(got.pictures["wrist_image_left"], sent[WRIST])
    assert got.state["joint_position"].shape == (1, 7)
    assert (got.prompt, got.session_id) == ("Fold the towel", "one")


def test_one_picture_is_a_frame_and_floats_are_truncated():
    """(H, W, 3) is one frame; floats in [0, 255] do, as whole numbers."""
    sent = message()
    sent[WRIST] = sent[WRIST][0] + np.float32(0.75)
    sent[WRIST] = np.minimum(sent[WRIST], 255)
    got = _read(sent).pictures["wrist_image_left"]
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, message()[WRIST])


PICTURE = np.zeros((4, 5, 3))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"wrist_image_left": None}, rf"lacks '{WRIST}'.*Got \["),
        (
            {"wrist_image_left": None, "wrist_image": PICTURE},
            rf"lacks '{WRIST}'.*There is 'observation/wrist_image': is that it\?",
        ),
        (
            {"wrist_image_left": None, "exterior_image_2_left": PICTURE},
            r"oxe_droid's\. Got",
        ),
        ({"wrist_image_left": PICTURE.astype(np.int64)}, f"{WRIST} has dtype int64"),
        ({"wrist_image_left": "a.png"}, f"{WRIST} has dtype <U5"),
        ({"wrist_image_left": PICTURE[..., 0]}, rf"{WRIST} has shape \(4, 5\)"),
        ({"wrist_image_left": PICTURE[..., :2]}, rf"{WRIST} has shape \(4, 5, 2\)"),
        ({"wrist_image_left": np.zeros((0, 4, 5, 3), np.uint8)}, "of one frame or"),
        ({"wrist_image_left": PICTURE + 256}, "floats from 256 to 256"),
        ({"wrist_image_left": PICTURE - 1}, "floats from -1 to -1"),
        ({"wrist_image_left": PICTURE * np.nan}, "floats from nan to nan"),
        ({"wrist_image_left": PICTURE + 0.5}, r"looks like pictures in \[0, 1\]"),
        (
            {"wrist_image_left": np.zeros((2, 4, 5, 3), np.uint8)},
            f"same number of frames, got .*'{WRIST}': 2",
        ),
        ({"joint_position": np.zeros(6)}, r"joint_position has shape \(6,\); give \("),
        ({"joint_position": ["a"] * 7}, "joint_position is .*give 7 real numbers"),
        ({"joint_position": np.full(7, np.inf)}, "joint_position is .*finite"),
        ({"joint_position": np.full(7, 1e300)}, "joint_position is .*finite"),
        ({"joint_position": [[0.0], [0.0] * 6]}, r"joint_position is .*array \(7,\)"),
        ({"wrist_image_left": [[0], [0, 0]]}, f"{WRIST} is .*give an array uint8"),
        ({"prompt": "  "}, "'prompt' is empty"),
    ],
)
def test_what_does_not_fit_is_named(changed, words):
    """The key, what came, and what is wanted."""
    with pytest.raises(ValueError, match=words):
        _read(message(**changed))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "the request is a NoneType"),
        (message(prompt=3), "'prompt' is 3"),
        ({**message(), "session_id": [1]}, r"'session_id' is \[1\]"),
    ],
)
def test_other_kinds_are_named(sent, words):
    """Likewise what is of another kind altogether."""
    with pytest.raises(TypeError, match=words):
        _read(sent)


def test_a_missing_state_is_zeros_and_a_warning():
    """As in the original, which says nothing."""
    with pytest.warns(UserWarning, match=r"lacks \['observation/joint_position'\]"):
        got = _read(message(joint_position=None))
    np.testing.assert_array_equal(got.state["joint_position"], np.zeros((1, 7)))


@pytest.mark.parametrize(
    ("key", "slip", "instead"),
    [
        ("observation/joint_position", "observation/joint_positions", "zeros"),
        ("observation/gripper_position", "observation/GripperPosition", "zeros"),
        ("prompt", "promt", "no words"),
    ],
)
def test_a_slip_in_a_key_that_may_be_missing_is_no_zeros(key, slip, instead):
    """The arm would be moved by them; what robots of the original's send besides is
    passed over."""
    sent = message()
    sent[slip] = sent.pop(key)
    words = f"lacks '{key}', for which {instead} would stand. There is '{slip}'"
    with pytest.raises(ValueError, match=words):
        _read(sent)
    del sent[slip]
    sent["observation/cartesian_position"] = np.zeros(6)
    with pytest.warns(UserWarning, match=key):
        _read(sent)


def test_a_missing_prompt_is_no_words_and_a_warning():
    """Likewise; one that is there and blank is a robot's mistake."""
    with pytest.warns(UserWarning, match="lacks 'prompt'"):
        prompt = _read(message(prompt=None)).prompt
    assert prompt is None
    said = prompt_text(VIEWS, prompt)
    assert said.startswith("A multi-view video shows that a robot  The video ")
    assert said.endswith(". The robot ")
