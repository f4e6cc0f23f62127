"""A network's weights: drawn, counted, and made a network again."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.layers.linear import Linear
from jax_stepcache.models.sizes.parameters import Parameters
from jax_stepcache.models.sizes.rows import weight_rows


class Width(NamedTuple):
    inner: int
    outer: int


class Network(nnx.Module):
    def __init__(self, config: Width, *, rngs: nnx.Rngs):
        self.proj = Linear(config.inner, config.outer, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.proj(x)


PARAMETERS: Parameters[Width, Network] = Parameters(Network)


def test_weights_are_drawn_as_they_are_counted_and_bound():
    """Shapes need no weights; a network of given weights computes with them."""
    config = Width(3, 5)
    weights = PARAMETERS.init(config, jax.random.key(0))
    shapes = PARAMETERS.shapes(config)
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(lambda x: x.shape, shapes)
    assert weight_rows(shapes, 2, "bfloat16")[::3] == [
        ("parameters", 20, ""),
        ("weights in bfloat16", 40, "B"),
    ]
    said = PARAMETERS.bind(config, weights)(jnp.ones((2, 3)))
    wanted = np.asarray(weights["proj"]["kernel"]).sum(0, keepdims=True).repeat(2, 0)
    np.testing.assert_allclose(said, wanted, rtol=1e-6)


def test_weights_of_another_size_are_refused():
    """Each by name, all at once."""
    weights = PARAMETERS.init(Width(3, 5), jax.random.key(0))
    with pytest.raises(ValueError, match="2 faults") as error:
        PARAMETERS.bind(Width(3, 4), weights)
    assert "shape: proj.bias is (5,), the model has (4,)" in str(error.value)
