"""Views on the canvas, and what is said of them."""

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero.pixels import canvas as pictures
from jax_stepcache.models.dreamzero.pixels.canvas import PictureSizes
from jax_stepcache.models.dreamzero.pixels.prompt import prompt_text
from jax_stepcache.models.dreamzero.pixels.views import VIEWS, get_views


def _frames(views, batch=2, sizes=((20, 30), (20, 30), (16, 40))):
    rng = np.random.default_rng(0)
    return {
        camera: rng.integers(0, 256, (batch, 4, *size, 3), np.uint8)
        for camera, size in zip(views.cameras, sizes, strict=True)
    }


@pytest.mark.parametrize("robot", list(VIEWS))
def test_each_view_has_its_place(robot):
    """Wide on top for DROID; else quarters, of which the last is black."""
    views = VIEWS[robot]
    marks = [np.full((1, 1, 2, 3, 3), i, np.uint8) for i in (1, 2, 3)]
    quarters = np.asarray(pictures.side_by_side(views, *marks))[0, 0, ::2, ::3, 0]
    wanted = [[3, 3], [1, 2]] if robot == "oxe_droid" else [[1, 3], [2, 0]]
    np.testing.assert_array_equal(quarters, wanted)


def test_the_wide_view_has_every_column_twice():
    """And so keeps what is fine in it."""
    views = get_views("droid")
    wrist = np.arange(12, dtype=np.uint8).reshape(1, 1, 2, 2, 3)
    top = np.asarray(pictures.side_by_side(views, wrist, wrist, wrist))[0, 0, :2]
    np.testing.assert_array_equal(top, wrist[0, 0].repeat(2, axis=1))


def test_robots_of_a_batch_do_not_see_each_other():
    """A canvas is what it would be alone; cameras may differ in size."""
    views, sizes = get_views("oxe_droid"), PictureSizes((8, 12))
    frames = _frames(views)
    together = pictures.canvas(sizes, views, frames)
    assert together.dtype == np.uint8
    assert together.shape == (2, 4, 16, 24, 3)
    alone = jax.tree.map(lambda x: x[1:], frames)
    np.testing.assert_array_equal(together[1:], pictures.canvas(sizes, views, alone))


def test_the_device_is_sent_whole_numbers():
    """The compiled program takes the cameras' uint8 and nothing else of their size."""
    views, sizes = get_views("oxe_droid"), PictureSizes((8, 12), (10, 20), (8, 12))
    traced = pictures.canvas.trace(sizes, views, _frames(views))
    assert {x.dtype for x in traced.jaxpr.in_avals} == {np.dtype(np.uint8)}
    assert traced.out_info.dtype == np.uint8


def test_a_video_is_in_minus_one_to_one_and_resized_where_asked():
    """Halved for the 5B model: (B, 3, T, H, W)."""
    canvas = np.zeros((1, 2, 16, 24, 3), np.uint8)
    canvas[:, 1] = 255
    video = pictures.as_video(PictureSizes((8, 12), None, (8, 12)), canvas)
    assert video.shape == (1, 3, 2, 8, 12)
    np.testing.assert_array_equal(video[:, :, 0], -1)
    np.testing.assert_array_equal(video[:, :, 1], 1)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Fold the Towel", "fold the towel"),
        ("['Open it', 'shut it']", "open it"),
        ("'Quoted'", "quoted"),
        ("12", "12"),
        # No texts, nor lists of them: words like any other.
        ("('Open it',)", "('open it',)"),
        ("[1, 'x']", "[1, 'x']"),
        ("{'a': 'b'}", "{'a': 'b'}"),
        ("b'x'", "b'x'"),
        ("0x" + "f" * 8000, "0x" + "f" * 8000),
        ("9" * 8000, "9" * 8000),
        ("[" * 4000, "[" * 4000),
        ("pick up: [the cube", "pick up: [the cube"),
    ],
)
def test_an_instruction_is_said_twice_around_the_views(prompt, said):
    """In lower case; of a Python literal that is a text or a list of texts the value,
    as datasets store them, and of no other."""
    for views in VIEWS.values():
        text = prompt_text(views, prompt)
        assert text.startswith(f"A multi-view video shows that a robot {said} The ")
        assert text.endswith(f". The robot {said}")
        assert "views" in text


@pytest.mark.parametrize("prompt", ["", " ", "[]", "''"])
def test_an_empty_instruction_is_refused(prompt):
    """Also one that is empty once it was read."""
    with pytest.raises(ValueError, match=r"prompt is .*which is empty"):
        prompt_text(get_views("yam"), prompt)


def test_an_unknown_robot_is_named():
    """With the nearest that there is."""
    with pytest.raises(
        ValueError, match=r"unknown embodiment 'oxe-droid'.*'oxe_droid'"
    ):
        get_views("oxe-droid")
