"""Stages that are found by tracing are the network, and nothing more."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jaxprs import primitives
from tests.network.adapting import strangers
from tests.network.adapting.adapted import KINDS, case

T = jnp.asarray([700.0, 300.0])


def staged(model, weights, x, t, condition, cuts=()):
    hidden, context = model.embed(weights, x, t, condition)
    places = [0, *cuts, model.num_blocks]
    for start, stop in itertools.pairwise(places):
        hidden = model.blocks(weights, hidden, context, start, stop)
    return model.head(weights, hidden, context)


@pytest.mark.parametrize("kind", KINDS)
def test_stages_make_the_network(kind):
    """However the blocks are cut into spans, the whole is what the network says."""
    weights, model, condition = case(kind)
    x = strangers.noise()
    whole = jax.jit(model)(weights, x, T, condition)
    every = tuple(range(1, model.num_blocks))
    for cuts in ((), every):
        said = jax.jit(lambda *given, cuts=cuts: staged(model, *given, cuts))(
            weights, x, T, condition
        )
        np.testing.assert_allclose(said, whole, atol=2e-6, err_msg=str(cuts))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_computed_twice(kind):
    """Before anything is compiled, all stages have the network's equations, once."""
    weights, model, condition = case(kind)
    given = weights, strangers.noise(), T, condition
    own = primitives(model, *given)
    found = primitives(lambda *given: staged(model, *given), *given)
    for name in ("dot_general", "tanh", "logistic", "scan", "exp"):
        assert found[name] == own[name], name


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_do_nothing_of_what_is_before_them(kind):
    """What stands before the blocks, and behind them, is not in them."""
    weights, model, condition = case(kind)
    given = weights, strangers.noise(), T, condition
    hidden, context = jax.eval_shape(model.embed, *given)
    own = primitives(model, *given)
    found = [
        primitives(model.embed, *given),
        primitives(
            lambda w, h, c: model.blocks(w, h, c, 0, model.num_blocks),
            weights,
            hidden,
            context,
        ),
        primitives(model.head, weights, hidden, context),
    ]
    counts = [count["dot_general"] for count in found]
    assert min(counts) > 0
    assert sum(counts) == own["dot_general"]


@pytest.mark.parametrize("kind", ["nnx list", "linen scan", "two streams"])
def test_some_of_the_rows_go_through(kind):
    """Where only some samples compute, blocks take their rows of what is read."""
    weights, model, condition = case(kind)
    x = strangers.noise()
    hidden, context = model.embed(weights, x, T, condition)
    one = jnp.asarray([1])

    def rows(y, axis=0):
        return jnp.take(y, one, axis)

    whole = model.blocks(weights, hidden, context, 0, 2)
    # Keys and values have their layers first; where attention begins, all share.
    part = jax.tree.map(
        lambda y: y if y.ndim == 1 and y.shape != (2,) else rows(y, y.shape[0] != 2),
        context,
    )
    few = model.blocks(weights, jax.tree.map(rows, hidden), part, 0, 2)
    pairs = zip(jax.tree.leaves(few), jax.tree.leaves(whole), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, rows(b), atol=2e-6)
