"""Tokens that only fill up: rows by eights, and nothing else changes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.checkpoints.layers import taken_apart
from jax_stepcache.models.dreamzero import KVCache
from jax_stepcache.models.dreamzero.network.kv_cache import attended
from jax_stepcache.models.dreamzero.network.tokens import Embedded, filled_up
from jax_stepcache.models.layers.rotary import Rotation

from ..small import SMALL, inputs, random_cache, random_weights, velocities

TOKENS = 13  # two frames of 4, 4 actions and a state


def test_rows_by_eights() -> None:
    """Rule: the tokens that are there stay as they are, and the last row's timestep is
    that of what fills up."""
    rng = np.random.default_rng(0)
    x, e = rng.normal(size=(2, TOKENS, 6)), rng.normal(size=(2, 2, 6))
    angles = rng.normal(size=(2, TOKENS, 3))
    embedded = Embedded(
        jnp.asarray(x),
        jnp.asarray(e),
        jnp.zeros((2, 2, 6, 6)),
        Rotation(jnp.asarray(angles), jnp.asarray(angles)),
        (2, 2, 2),
        ((1, 8), (1, 5)),
    )
    filled = filled_up(embedded)
    assert filled.x.shape[1] == filled.rotation.cos.shape[1] == 16
    np.testing.assert_array_equal(filled.x[:, :TOKENS], embedded.x)
    np.testing.assert_array_equal(filled.x[:, TOKENS:], 0)
    assert filled.spans == ((1, 8), (1, 8))
    assert filled_up(filled) is filled


@pytest.mark.parametrize("held", [1, 3])
def test_nobody_sees_them(held: int) -> None:
    """Rule: mask and lengths both leave out what fills up, and agree about the rest."""
    empty = KVCache.empty(SMALL, 2, frames=SMALL.window - 2)
    cache = empty._replace(length=jnp.asarray([held, 1], jnp.int32))
    seen = attended(SMALL, cache, None, 2, TOKENS, filling=3)
    room = cache.k.shape[2]
    assert seen.cached is not None
    assert seen.own is not None
    np.testing.assert_array_equal(seen.own, TOKENS)
    for row, mask in enumerate(np.asarray(seen.mask)[:, 0, 0]):
        assert list(np.flatnonzero(mask[:room])) == list(range(int(seen.cached[row])))
        assert list(np.flatnonzero(mask[room:])) == list(range(TOKENS))


def test_velocities_are_those_without() -> None:
    """Rule: layers apart, which are filled up, and stacked ones predict the same."""
    given, weights = inputs(SMALL, batch=2), random_weights(SMALL)
    cache = random_cache(SMALL, [3, 1])
    apart = {**weights, "blocks": taken_apart(weights["blocks"])}
    k, v = taken_apart([cache.k, cache.v])
    one = velocities(SMALL, weights, given, cache)
    two = velocities(SMALL, apart, given, cache._replace(k=k, v=v))
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, atol=1e-5)
