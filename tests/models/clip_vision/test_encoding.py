"""What holds of any image encoder: sizes, dtypes, batches, words for bad input."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.checkpoints.layers import layers_apart
from jax_stepcache.models.clip_vision import CLIPVisionConfig, encode
from jax_stepcache.models.clip_vision.network.resize import normalised, taps

from .small import SMALL, weights_of


def pictures(batch=2, rows=9, columns=17):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, rows, columns, 3), np.uint8)


def test_a_picture_is_what_it_is_alone():
    """Others in the batch change nothing; bytes are the floats that they stand for."""
    shown = pictures()
    together = encode(SMALL, weights_of(SMALL), shown)
    assert together.shape == (2, SMALL.tokens, SMALL.dim)
    alone = encode(SMALL, weights_of(SMALL), shown[1:] / np.float32(127.5) - 1)
    np.testing.assert_allclose(together[1:], alone, atol=1e-5)


def test_bfloat16_is_near_float32():
    """The resize is done in 32 bits in any case."""
    wide = encode(SMALL, weights_of(SMALL), pictures())
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), weights_of(SMALL))
    found = encode(replace(SMALL, dtype="bfloat16"), half, pictures())
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), wide, atol=0.1)


def test_layers_apart_give_the_same_inside_a_jit():
    """One array a layer, as a GPU reads them; traced pictures."""
    weights = weights_of(SMALL)
    apart = layers_apart(weights)
    ours = jax.jit(lambda shown: encode(SMALL, apart, shown))(pictures())
    np.testing.assert_allclose(ours, encode(SMALL, weights, pictures()), atol=1e-5)


@given(st.integers(1, 60), st.integers(1, 60))
def test_resizing(length, size):
    """Even areas stay even; the same size changes nothing; mirrors are kept."""
    made = taps(length, size)
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-5)
    assert ((made != 0).sum(axis=1) <= 4).all()
    np.testing.assert_allclose(made[::-1, ::-1], made, atol=1e-5)
    np.testing.assert_array_equal(taps(length, length), np.eye(length))


def test_normalising():
    """Grey between black and white, as CLIP has it."""
    grey = np.asarray(normalised(jnp.zeros((1, 1, 1, 3))))
    np.testing.assert_allclose(
        grey.ravel(),
        [
            (0.5 - 0.48145466) / 0.26862954,
            (0.5 - 0.4578275) / 0.26130258,
            (0.5 - 0.40821073) / 0.27577711,
        ],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[0], r"have shape \(9, 17, 3\); give"),
        (lambda x: np.moveaxis(x, -1, 1), "channels last"),
        (lambda x: x.astype(np.int32), "dtype int32; give uint8"),
        (lambda x: x.astype(np.float32), r"go from 0 to 25\d; give uint8"),
        (lambda x: x * np.float32(np.nan), "go from nan to nan"),
        (lambda x: x[:0], "have shape"),
    ],
)
def test_bad_pictures(change, words):
    """Told before anything is compiled: what came, and what is wanted."""
    with pytest.raises(ValueError, match=words):
        encode(SMALL, None, change(pictures()))


def test_bad_sizes():
    """Named, with what is allowed."""
    with pytest.raises(ValueError, match="unknown option of CLIP 'heads'"):
        CLIPVisionConfig.from_dict({"heads": 4})
    with pytest.raises(ValueError, match="mlp_ratio must be positive"):
        CLIPVisionConfig(mlp_ratio=0)
