"""The stand-in for a video VAE loses nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.tabletop import latent


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**31 - 1),
)
def test_decoding_inverts_encoding(batch, frames, rows, columns, seed):
    """Every pixel comes back to where it was, for any shape."""
    rng = np.random.default_rng(seed)
    shape = (batch, frames, 4 * rows, 4 * columns, 3)
    # Quarters, because times 3 and divided by 3 they are exact in float32.
    images = rng.integers(0, 5, shape).astype(np.float32) / 4
    latents = latent.encode(images)
    assert latents.shape == (batch, latent.CHANNELS, frames, rows, columns)
    np.testing.assert_array_equal(latent.decode(latents), images)


def test_a_latent_cell_is_a_patch_of_pixels():
    """Channels are (row, column, colour) of the cell's pixels, centred and scaled."""
    image = np.random.default_rng(0).random((1, 1, 8, 8, 3), np.float32)
    latents = latent.encode(image)
    cell = latents[0, :, 0, 1, 0].reshape(4, 4, 3)
    np.testing.assert_allclose(cell, (image[0, 0, 4:, :4] - 0.5) * 3, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 30, 32, 3), (1, 1, 32, 32, 4)])
def test_frames_that_do_not_fit_are_refused(shape):
    """The error names the shape that was given."""
    with pytest.raises(ValueError, match="multiples of 4, got"):
        latent.encode(np.zeros(shape))


def test_latents_that_do_not_fit_are_refused():
    """The error names the shape that was given."""
    with pytest.raises(ValueError, match=r"must be \(B, 48, F, h, w\), got"):
        latent.decode(np.zeros((1, 16, 2, 8, 8)))
