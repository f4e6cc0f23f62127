"""Pictures of another size."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.transforms import Resize, ResizeFixedPoint
from jax_stepcache.models.transforms.resize import fused

_OPENCV = Path(__file__).parents[2] / "data" / "transforms" / "opencv_bilinear.npz"


@given(st.integers(2, 9), st.integers(2, 9), st.booleans())
def test_resizing_is_jax_image_to_rounding(height, width, antialias):
    """Another implementation of the rule, by matrices: the weights are the same."""
    if not antialias:  # JAX's leaves the picture's frame out where it shrinks.
        height, width = max(height, 6), max(width, 7)
    picture = np.random.default_rng(1).uniform(size=(2, 6, 7, 3)).astype(np.float32)
    ours = Resize(height, width, antialias)(jnp.asarray(picture))
    shape = (2, height, width, 3)
    theirs = jax.image.resize(picture, shape, "linear", antialias=antialias)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_without_antialiasing_a_halved_picture_is_the_mean_of_four():
    """Half-pixel centres: each new place lies between two, in rows and in columns."""
    picture = np.random.default_rng(2).uniform(size=(4, 6, 3)).astype(np.float32)
    ours = Resize(2, 3, antialias=False)(jnp.asarray(picture))
    four = picture.reshape(2, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(ours, four, atol=1e-6)


def test_whole_numbers_are_opencvs():
    """Every bit of a recorded picture, with any axes in front."""
    with np.load(_OPENCV) as recorded:
        before, after = recorded["before"], recorded["after"]
    assert before.shape != after.shape
    resize = ResizeFixedPoint(*after.shape[:2])
    ours = jax.jit(resize)(np.stack([[before, before]]))
    assert ours.dtype == jnp.uint8
    np.testing.assert_array_equal(ours, np.stack([[after, after]]))


@pytest.mark.parametrize("kind", [Resize, ResizeFixedPoint])
def test_a_picture_of_one_colour_stays_one(kind):
    """Weights add up to one at every place, the edges included."""
    picture = np.full((5, 8, 3), 200, np.uint8)
    if kind is Resize:
        ours = kind(7, 3)(jnp.asarray(picture, jnp.float32))
        np.testing.assert_allclose(ours, 200, rtol=1e-6)
    else:
        np.testing.assert_array_equal(kind(7, 3)(jnp.asarray(picture)), 200)


@pytest.mark.parametrize("jitted", [False, True])
def test_a_fused_product_is_rounded_once(jitted, full_compilation):
    """As in double precision, which holds the product; the plain sum is not."""
    rng = np.random.default_rng(3)
    total, x, factor = rng.uniform(0, 1, (3, 100_000)).astype(np.float32)
    ours = np.asarray((jax.jit(fused) if jitted else fused)(total, x, factor))
    wide = total.astype(np.float64) + x.astype(np.float64) * factor
    np.testing.assert_array_equal(ours, wide.astype(np.float32))
    assert (total + x * factor != ours).mean() > 0.1
