"""Norms, and what a timestep does to normalised tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.layers.modulation import gated, modulate, per_token
from jax_stepcache.models.layers.norms import LayerNorm, RMSNorm, layer_norm

EPS = 1e-6
TOKENS = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (2, 5, 16))


def test_a_layer_norm_takes_out_mean_and_spread():
    """Of each token for itself."""
    y = np.asarray(layer_norm(TOKENS, EPS))
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-5)


def test_an_rms_norm_keeps_the_direction():
    """It divides by one number, and leaves the mean alone."""
    y = np.asarray(RMSNorm(16, EPS)(TOKENS))
    np.testing.assert_allclose(np.square(y).mean(-1), 1, atol=1e-5)
    ratio = y / np.asarray(TOKENS)
    np.testing.assert_allclose(ratio, ratio[..., :1].repeat(16, -1), rtol=1e-5)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_statistics_are_taken_in_float32(norm):
    """A sum of squares in bfloat16 would lose small ones; the answer is bfloat16."""
    wide, narrow = (
        norm(16, EPS)(TOKENS.astype(d)) for d in (jnp.float32, jnp.bfloat16)
    )
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.03)


def test_a_modulation_of_nothing_is_the_norm():
    """Shift and scale are what is added to it."""
    zero = jnp.zeros((2, 1, 16))
    plain = layer_norm(TOKENS, EPS)
    np.testing.assert_array_equal(modulate(TOKENS, zero, zero, EPS), plain)
    moved = modulate(TOKENS, zero + 0.5, zero + 1.0, EPS)
    np.testing.assert_allclose(moved, 2 * plain + 0.5, atol=1e-6)


def test_a_wide_modulation_is_rounded_once():
    """Tokens in bfloat16 are normalised, moved and added to in the modulation's
    float32: the answer is that of float32, rounded at its end."""
    tokens = TOKENS.astype(jnp.bfloat16)
    shift, gate = jax.random.normal(jax.random.key(1), (2, 2, 1, 16))
    wide = tokens.astype(jnp.float32)
    moved = jax.jit(modulate, static_argnums=3)(tokens, shift, gate, EPS)
    exact = modulate(wide, shift, gate, EPS).astype(jnp.bfloat16)
    added = jax.jit(gated)(tokens, moved, gate)
    summed = (wide + moved.astype(jnp.float32) * gate).astype(jnp.bfloat16)
    for narrow, rounded in ((moved, exact), (added, summed)):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_array_equal(
            narrow.astype(jnp.float32), rounded.astype(jnp.float32)
        )


def test_rows_are_spread_over_their_tokens():
    """Two timesteps of three tokens each, then one of two; one alone serves all."""
    rows = jnp.arange(3.0).reshape(1, 3, 1)
    spread = per_token(rows, ((2, 3), (1, 2)))
    assert spread[0, :, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert per_token(rows[:, :1], ((1, 8),)).shape == (1, 1, 1)
