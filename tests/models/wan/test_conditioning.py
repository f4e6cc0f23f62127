"""What is given of a film beside its prompt, in pixels and in latents."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.wan.conditioning import (
    beside_latent,
    frame_mask,
    free_frames,
    given_frames,
    with_first,
)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_mask_counts_pixel_frames(frames, last):
    """As the original: frame 0 four times, then groups of four are a latent frame's."""
    if frames == 1 and last:
        return
    pixels = np.zeros(4 * (frames - 1) + 1)
    pixels[0] = 1
    pixels[-1] = 1 if last else pixels[-1]
    grouped = np.concatenate([pixels[:1].repeat(4), pixels[1:]]).reshape(frames, 4)
    np.testing.assert_array_equal(frame_mask(frames, 4, last), grouped.T)


@pytest.mark.parametrize("last", [False, True])
def test_given_images_stand_at_the_ends(last):
    """Grey, which is zero, between them."""
    first, end = (jnp.full((2, 3, 4, 6), x) for x in (0.5, -0.5))
    film = np.asarray(given_frames(first, 5, end if last else None))
    assert film.shape == (2, 3, 5, 4, 6)
    assert (film[:, :, 0] == 0.5).all()
    assert (film[:, :, 1:4] == 0).all()
    assert (film[:, :, 4] == (-0.5 if last else 0)).all()


def test_channels_of_mask_and_condition():
    """The mask before the condition, the same for all rows and columns."""
    condition = jnp.arange(2 * 3 * 4 * 2 * 2, dtype=jnp.float32).reshape(2, 3, 4, 2, 2)
    made = np.asarray(beside_latent(condition, 4, True))
    assert made.shape == (2, 7, 4, 2, 2)
    np.testing.assert_array_equal(made[:, 4:], condition)
    mask = frame_mask(4, 4, True)
    assert (made[:, :4] == mask[None, :, :, None, None]).all()


def test_a_given_first_frame():
    """What is free and what is given are all of it."""
    x, first = jnp.ones((2, 3, 4, 2, 2)), jnp.zeros((2, 3, 1, 2, 2))
    np.testing.assert_array_equal(
        with_first(x, first), np.broadcast_to(free_frames((4, 2, 2)), x.shape)
    )
