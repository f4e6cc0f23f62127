"""Frames that sessions remember, and those that latents are made of."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.dreamzero.pixels import windows
from jax_stepcache.models.dreamzero.pixels.frames import FrameBuffer, shown


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_buffers_show_the_last_frames(counts):
    """However messages are cut, it is the end of all frames, filled up in front."""
    buffer, sent = FrameBuffer(), []
    for count in counts:
        new = np.arange(len(sent), len(sent) + count)
        pictures = new.astype(np.uint8)[:, None, None, None] * np.ones((2, 2, 3))
        first = not sent
        sent += new.tolist()
        buffer, seen = shown(buffer, {"camera": pictures.astype(np.uint8)})
        whole = sent[:1] * 4 + sent if len(sent) < 4 else sent
        wanted = whole[-1:] if first else whole[-4:]
        assert seen["camera"][:, 0, 0, 0].tolist() == wanted


def test_a_buffer_keeps_nothing_of_the_callers():
    """A robot may write its next frame over the last one."""
    pictures = np.zeros((1, 2, 2, 3), np.uint8)
    buffer, _ = shown(FrameBuffer(), {"camera": pictures})
    pictures[:] = 9
    _, seen = shown(buffer, {"camera": pictures})
    assert seen["camera"][:, 0, 0, 0].tolist() == [0, 0, 0, 9]


def test_a_camera_does_not_change_its_size_within_a_session():
    """The error names it and both sizes."""
    buffer, _ = shown(FrameBuffer(), {"wrist": np.zeros((1, 2, 2, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"wrist has pictures of \(4, 2, 3\)"):
        shown(buffer, {"wrist": np.zeros((1, 4, 2, 3), np.uint8)})


@pytest.mark.parametrize(
    ("csf", "new_prompt", "frames", "begun"),
    [
        (0, False, 4, True),
        (3, False, 4, False),
        (3, True, 4, True),
        (3, False, 1, True),
        (7, False, 4, False),
        (9, False, 4, True),
    ],
)
def test_windows_begin(csf, new_prompt, frames, begun):
    """A new prompt, a single frame, a full window; else it goes on."""
    assert windows.begins(csf, 9, new_prompt=new_prompt, frames=frames) == begun


@pytest.mark.parametrize(
    ("frames", "order", "seed"),
    [
        (1, None, 0),
        (4, [0, 0, 0, 1, 1, 2, 2, 3, 3], 3),
        (8, [0, 0, 1, 2, 3, 4, 5, 6, 7], 0),
        (9, list(range(9)), 8),
    ],
)
def test_frames_for_latents(frames, order, seed):
    """Of four each twice; the first once more in front; nine as they are."""
    marks = jnp.arange(frames, dtype=jnp.float32)
    video = jnp.broadcast_to(marks[:, None, None], (1, 3, frames, 2, 2))
    begin = windows.seed(jnp.moveaxis(video, 1, -1))
    assert begin.shape == (1, 1, 2, 2, 3)
    assert float(begin.max()) == seed
    if order is None:
        with pytest.raises(ValueError, match="4, 8 or 9 frames, got 1"):
            windows.for_latents(video)
    else:
        assert windows.for_latents(video)[0, 0, :, 0, 0].tolist() == order
