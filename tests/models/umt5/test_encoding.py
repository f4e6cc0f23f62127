"""What holds of any text encoder: lengths, dtypes, tracing, words for bad input."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.checkpoints.layers import layers_apart
from jax_stepcache.models.umt5 import UMT5Config, encode
from jax_stepcache.models.umt5.network.positions import buckets

from .small import SMALL, weights_of

TOKENS = 12


def tokens(lengths):
    """Prompts of these lengths, filled up."""
    rng = np.random.default_rng(0)
    ids = rng.integers(2, SMALL.vocab, (len(lengths), TOKENS))
    mask = np.arange(TOKENS) < np.array(lengths)[:, None]
    return np.where(mask, ids, 0), mask.astype(np.int32)


def test_a_prompt_is_what_it_is_alone():
    """Others in the batch change nothing, and what is past each length is zero."""
    lengths = [5, TOKENS]
    ids, mask = tokens(lengths)
    together = np.asarray(encode(SMALL, weights_of(SMALL), ids, mask))
    for row, length in enumerate(lengths):
        short = slice(row, row + 1)
        alone = encode(
            SMALL, weights_of(SMALL), ids[short, :length], mask[short, :length]
        )
        np.testing.assert_allclose(together[short, :length], alone, atol=1e-5)
        assert not together[row, length:].any()
        assert together[row, :length].any(axis=-1).all()


def test_an_empty_prompt_is_zero():
    """And no number of it is NaN."""
    ids, mask = tokens([0])
    assert not np.asarray(encode(SMALL, weights_of(SMALL), ids, mask)).any()


def test_bfloat16_is_near_float32():
    """Weights and activations in 16 bits; logits, softmax and means are not."""
    ids, mask = tokens([7, 9])
    wide = encode(SMALL, weights_of(SMALL), ids, mask)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), weights_of(SMALL))
    found = encode(replace(SMALL, dtype="bfloat16"), half, ids, mask)
    assert found.dtype == jnp.bfloat16
    # Three significant digits in each of the sums.
    np.testing.assert_allclose(found.astype(np.float32), wide, atol=0.1)


def test_layers_apart_give_the_same():
    """One array a layer, as a GPU reads them."""
    ids, mask = tokens([7])
    weights = weights_of(SMALL)
    ours = encode(SMALL, layers_apart(weights), ids, mask)
    np.testing.assert_allclose(ours, encode(SMALL, weights, ids, mask), atol=1e-5)


def test_it_stands_inside_a_jit():
    """Traced tokens are not looked at; one program for each shape."""
    ids, mask = tokens([7])
    traced = jax.jit(lambda ids, mask: encode(SMALL, weights_of(SMALL), ids, mask))
    wanted = encode(SMALL, weights_of(SMALL), ids, mask)
    np.testing.assert_allclose(traced(ids, mask), wanted, atol=1e-5)


@given(st.integers(4, 40), st.integers(1, 300), st.integers(-400, 400))
def test_kinds_of_distances(number, more, distance):
    """Each side has its half; further is never of a lower kind; the last is shared."""
    config = UMT5Config(num_buckets=number, max_dist=number // 4 + more)
    half = number // 2
    kind, other, next_ = buckets(
        config, np.array([distance, -distance, distance + np.sign(distance)])
    )
    assert kind // half == (distance > 0)
    assert kind % half == other % half
    assert 0 <= next_ - kind <= 1 or distance == 0
    if abs(distance) >= config.max_dist:
        assert kind % half == half - 1
    if abs(distance) < half // 2:
        assert kind % half == abs(distance)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids, mask: (ids[0], mask[0]), r"ids has shape \(12,\); give \(prompts"),
        (lambda ids, mask: (ids, mask[:, :3]), r"mask has shape \(1, 3\); ids has"),
        (lambda ids, mask: (ids * 1.0, mask), "ids has dtype float32"),
        (lambda ids, mask: (ids, mask * 1.0), "mask has dtype float32"),
        (lambda ids, mask: (ids + 40, mask), "ids go from .*another tokenizer's"),
        (lambda ids, mask: (ids - 9, mask), "ids go from -9 to"),
    ],
)
def test_bad_tokens(change, words):
    """Told before anything is compiled: what came, and what is wanted."""
    ids, mask = tokens([7])
    with pytest.raises(ValueError, match=words):
        encode(SMALL, None, *change(ids, mask))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_heads": 5}, "num_heads must divide dim_attn"),
        ({"eps": 0}, "eps must be positive"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"heads": 4}, "unknown option of UMT5 'heads'"),
    ],
)
def test_bad_sizes(change, words):
    """Named, with what is allowed."""
    with pytest.raises(ValueError, match=words):
        UMT5Config.from_dict(change)
