"""One optimiser step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_stepcache.models.training.step import init_state, train_step


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    """Four parts of two rows give the step of one part of eight."""

    def loss(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        del frozen, key
        value = jnp.mean((batch @ trained - 1.0) ** 2)
        return value, {"square": value}

    batch = jax.random.normal(jax.random.key(0), (8, 3))
    optimizer = optax.sgd(0.1)
    results = [
        train_step(
            init_state(jnp.ones(3), optimizer),
            None,
            batch,
            jax.random.key(0),
            loss=loss,
            optimizer=optimizer,
            decay=0.9,
            accumulate=parts,
        )[:2]
        for parts in (1, 4)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
