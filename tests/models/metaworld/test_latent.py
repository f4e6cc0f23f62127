"""The stand-in for a video VAE keeps what it says it keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.metaworld import latent

SHAPES = st.tuples(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)
)


@given(SHAPES, st.integers(0, 2**31 - 1))
def test_encoding_inverts_decoding(shape, seed):
    """Latents come back from their pictures: no channel is lost or mixed."""
    batch, frames, rows, columns = shape
    shape = (batch, latent.CHANNELS, frames, rows, columns)
    latents = np.random.default_rng(seed).standard_normal(shape, np.float32)
    pictures = latent.decode(latents)
    assert pictures.shape == (batch, frames, 8 * rows, 8 * columns, 3)
    np.testing.assert_allclose(latent.encode(pictures), latents, atol=1e-5)


def test_a_smooth_picture_comes_back():
    """A cell whose brightness rises evenly has hardly more than the lowest
    frequencies, in every cell where it lies."""
    ramp = np.linspace(0.1, 0.9, 24, dtype=np.float32)
    picture = np.broadcast_to(ramp[:, None, None], (24, 16, 3))[None, None]
    again = latent.decode(latent.encode(picture))
    np.testing.assert_allclose(again, picture, atol=2e-3)


def test_the_first_channel_is_the_brightness_of_a_cell():
    """White and black are opposite, in this channel alone."""
    white = np.asarray(latent.encode(np.ones((1, 1, 8, 8, 3), np.float32)))
    black = np.asarray(latent.encode(np.zeros((1, 1, 8, 8, 3), np.float32)))
    np.testing.assert_allclose(white, -black, atol=1e-5)
    assert white[0, 0, 0, 0, 0] == pytest.approx(8 * 3**0.5 / 2, rel=1e-5)
    np.testing.assert_allclose(white[0, 1:], 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 12, 8, 3), (1, 1, 8, 8, 4)])
def test_pictures_that_are_not_of_cells_are_refused(shape):
    """Neither half a cell nor a fourth colour is passed over."""
    with pytest.raises(ValueError, match="multiples of 8"):
        latent.encode(np.zeros(shape, np.float32))


def test_latents_of_other_channels_are_refused():
    """A tabletop's latents have as many channels; a VAE's of 16 do not."""
    with pytest.raises(ValueError, match="latents must be"):
        latent.decode(np.zeros((1, 16, 1, 1, 1), np.float32))
