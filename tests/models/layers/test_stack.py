"""Blocks whose weights are stacked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.layers.linear import Linear
from jax_stepcache.models.layers.stack import block_of, run_stack, stacked_blocks

WEIGHTS = jax.random.normal(jax.random.key(0), (4, 3, 3))


def _block(x, weight):
    y = jnp.tanh(x @ weight)
    return y, y.sum()


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (0, 2), (1, 4), (2, 2)])
def test_some_of_the_blocks_are_those_one_by_one(start, stop):
    """Whole or in part, and what each leaves behind is kept in their order."""
    x = jnp.ones((2, 3))
    given, kept = run_stack(_block, x, WEIGHTS, start, stop)
    wanted, sums = x, []
    for i in range(start, stop):
        wanted, one = _block(wanted, block_of(WEIGHTS, i))
        sums.append(one)
    np.testing.assert_allclose(given, wanted, atol=1e-6)
    np.testing.assert_allclose(kept, jnp.asarray(sums), atol=1e-6)


def test_each_block_is_drawn_for_itself():
    """A key each: no two blocks are alike."""
    blocks = stacked_blocks(lambda rngs: Linear(3, 3, rngs=rngs), 4, nnx.Rngs(0))
    kernels = np.asarray(blocks.kernel.get_value())
    assert kernels.shape == (4, 3, 3)
    assert len({kernel.tobytes() for kernel in kernels}) == 4
