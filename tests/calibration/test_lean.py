"""Derivatives that remember little: the same ones, of the same network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.calibration.lean import Lean
from jax_stepcache.network.own import own_model

from ..staged import NUM_BLOCKS, UNROLLED, WEIGHTS, conditions, noise


def whole(weights, x, t, condition):
    """The same network as a function, without stages."""
    return UNROLLED(weights, x, t, condition)


@pytest.mark.parametrize(
    ("network", "remembered"), [(UNROLLED, NUM_BLOCKS + 1), (whole, 1)]
)
def test_it_computes_again_block_by_block(network, remembered):
    """A network in stages for each block, and its head; another one as a whole."""
    x = noise()
    model = own_model(network, x)
    t = jnp.full(len(jax.tree.leaves(x)[0]), 500.0)
    text = conditions()[0]

    def loss(denoise):
        def of(sample):
            said = denoise(WEIGHTS, sample, t, text)
            return sum(jnp.square(one).sum() for one in jax.tree.leaves(said))

        return of

    lean = loss(Lean(model).denoise)
    for one, other in zip(
        jax.tree.leaves(jax.value_and_grad(lean)(x)),
        jax.tree.leaves(jax.value_and_grad(loss(model.denoise))(x)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert str(jax.make_jaxpr(lean)(x)).count("prevent_cse=") == remembered
    assert Lean(model).name == model.name
