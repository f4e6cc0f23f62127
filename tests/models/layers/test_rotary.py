"""Rotary positions: what attention may see of them."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.layers.rotary import axis_angles, rotate, rotation

CHANNELS = 8


def _turned(x, positions):
    angles = jnp.asarray(axis_angles(np.asarray(positions), CHANNELS))
    return rotate(x, rotation(angles[None]))


@given(near=st.integers(0, 500), far=st.integers(0, 500), by=st.integers(0, 500))
def test_products_see_distances_only(near, far, by):
    """A query and a key, both moved by as much, have the product they had."""
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, CHANNELS))
    here = (_turned(q, [near]) * _turned(k, [far])).sum()
    there = (_turned(q, [near + by]) * _turned(k, [far + by])).sum()
    np.testing.assert_allclose(here, there, atol=1e-4)


def test_a_rotation_keeps_lengths_and_position_zero_is_none():
    """Each pair of channels is turned, not stretched."""
    x = jax.random.normal(jax.random.key(1), (2, 5, 3, CHANNELS))
    turned = _turned(x, range(5))
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    pairs = (*x.shape[:-1], CHANNELS // 2, 2)
    lengths = [jnp.linalg.norm(y.reshape(pairs), axis=-1) for y in (x, turned)]
    np.testing.assert_allclose(*lengths, atol=1e-6)


def test_channels_are_pairs_side_by_side():
    """Pair i is turned by position / 10000 ** (2 i / channels): the original's."""
    x = jnp.zeros((1, 1, 1, CHANNELS)).at[..., 2].set(1.0)
    turned = _turned(x, [3])[0, 0, 0]
    angle = 3 / 10000 ** (2 / CHANNELS)
    wanted = np.zeros(CHANNELS)
    wanted[2:4] = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(turned, wanted, atol=1e-6)
