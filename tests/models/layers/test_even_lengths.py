"""Attention over even numbers of tokens, for kernels whose gradients need them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.layers.attention import attention
from jax_stepcache.models.layers.even_lengths import with_even_lengths


@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (4, 7), (5, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_what_is_added_changes_nothing(queries: int, keys: int, masked: bool) -> None:
    """Neither the result nor a gradient."""
    of_q, of_k, of_v, of_mask = jax.random.split(jax.random.key(0), 4)
    q = jax.random.normal(of_q, (2, queries, 2, 8))
    k, v = (jax.random.normal(key, (2, keys, 2, 8)) for key in (of_k, of_v))
    mask = jax.random.bernoulli(of_mask, 0.5, (2, 1, queries, keys))
    given = mask.at[:, :, :, 0].set(True) if masked else None

    def told(run):
        def loss(q, k, v):
            y = run(q, k, v, given, "xla")
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    for one, other in zip(
        jax.tree.leaves(told(with_even_lengths)),
        jax.tree.leaves(told(attention)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
