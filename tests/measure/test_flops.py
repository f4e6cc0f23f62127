"""Matrix products are counted, wherever they are."""

from __future__ import annotations

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, load_model
from jax_stepcache.loop.result import Stats
from jax_stepcache.measure.flops import ForwardFlops, forward_flops, matmul_flops
from jax_stepcache.models.dit.network.flops import count_flops as count_dit
from jax_stepcache.models.dreamzero.network.flops import count_flops as count_dreamzero

from ..staged import NUM_BLOCKS, UNROLLED, WEIGHTS, options

A, B = jnp.ones((2, 3)), jnp.ones((3, 5))
# Of A @ B: a product and a sum count two.
ONE = 2 * 2 * 3 * 5


def _scanned(a, b):
    return jax.lax.scan(lambda x, _: (x, a @ b), 0.0, length=7)


def _branching(a, b):
    return jax.lax.cond(a.sum() > 0, lambda: (a @ b) @ b.T @ b, lambda: a @ b)


def _nested(a, b):
    def inner(a):
        return jax.jit(lambda x: jnp.sin(x @ b))(a) + jax.checkpoint(jnp.dot)(a, b)

    return jax.lax.scan(lambda x, _: (x, jax.jit(inner)(a)), 0.0, length=3)


def _looped(a, b):
    square = b @ b.T
    return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ square, a)


CASES = {
    "a product": (jnp.matmul, (A, B), ONE),
    "elementwise": (lambda a, b: jnp.sin(a) + a * 2, (A, B), 0),
    "batched": (
        lambda a, b: jnp.einsum("nij,njk->nik", a, b),
        (jnp.ones((4, 2, 3)), jnp.ones((4, 3, 5))),
        4 * ONE,
    ),
    "two axes at once": (
        lambda a, b: jnp.tensordot(a, b, 2),
        (jnp.ones((6, 2, 3)), jnp.ones((2, 3, 5))),
        2 * 6 * (2 * 3) * 5,
    ),
    # Each of 7 x 7 pixels of 5 channels sums 3 x 3 x 2 numbers.
    "a convolution": (
        lambda x, k: jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        (jnp.ones((1, 7, 7, 2)), jnp.ones((3, 3, 2, 5))),
        2 * 7 * 7 * 5 * 3 * 3 * 2,
    ),
    "a grouped convolution": (
        lambda x, k: jax.lax.conv_general_dilated(
            x, k, (1, 1), "VALID", feature_group_count=2
        ),
        (jnp.ones((1, 4, 7, 7)), jnp.ones((6, 2, 1, 1))),
        2 * 7 * 7 * 6 * 2,
    ),
    "a scan": (_scanned, (A, B), 7 * ONE),
    "the larger branch": (_branching, (A, B), 3 * ONE),
    "programs within programs": (_nested, (A, B), 3 * 2 * ONE),
    "one turn": (_looped, (A, B), 2 * 3 * 5 * 3 + 2 * 2 * 3 * 3),
}


@pytest.mark.parametrize("what", CASES)
def test_matrix_products(what):
    """Loops count their length, branches their larger side."""
    function, arguments, wanted = CASES[what]
    assert matmul_flops(function, *arguments) == wanted
    structs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments]
    assert matmul_flops(function, *structs) == wanted


def _shapes(name):
    """A bundled model without its weights, and shapes of what it is shown."""
    model = load_model(name)
    shown = jax.eval_shape(model.example, jax.random.key(0))
    package = importlib.import_module(type(model).__module__.rpartition(".")[0])
    return Params(package.weights_struct(model), model), {"observation": shown}


def test_the_tabletop_costs_what_its_formula_says():
    """Two branches of a step, with one slot of cache, without the prompt."""
    params, shown = _shapes("tabletop")
    call = count_dreamzero(params.model.dit, frames=1).call
    assert forward_flops(params, **shown) == ForwardFlops(0, 2 * call)
    inside = forward_flops(params, cache="tea_cache", **shown)
    assert sum(inside) == 2 * call
    assert 0 < inside.every < inside.span


def test_the_digits_cost_what_their_formula_says():
    """Two branches of a step; a cache inside skips all blocks, or but the first."""
    params, shown = _shapes("dit")
    count = count_dit(params.model.config)
    assert forward_flops(params, **shown) == ForwardFlops(0, 2 * count.call)
    alone = forward_flops(params, guidance_scale=1.0, **shown)
    assert alone == ForwardFlops(0, count.call)
    blocks = params.model.num_blocks
    for cache, skipped in (("tea_cache", blocks), ("cache_dit", blocks - 1)):
        found = forward_flops(params, cache=cache, **shown)
        assert sum(found) == 2 * count.call
        assert found.span == 2 * skipped * count.block


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("first", "last"), [(1, 0), (1, 1), (2, 0)])
def test_blocks_at_the_ends_run_at_every_step(first, last, rows):
    """Of a network of one's own, by hand: rows are all that a batch multiplies."""
    config = {"Fn_compute_blocks": first, "Bn_compute_blocks": last}
    shared = {
        name: x[:rows] if hasattr(x, "shape") else x for name, x in options().items()
    }
    found = forward_flops(
        WEIGHTS, model=UNROLLED, cache="cache_dit", cache_config=config, **shared
    )
    tokens, channels, dim = rows * 4, 3, 8
    block, ends = 2 * tokens * dim * dim, 2 * 2 * tokens * channels * dim
    skipped = NUM_BLOCKS - first - last
    assert found == ForwardFlops(ends + (first + last) * block, skipped * block)


def test_a_run_costs_every_step_and_its_calls():
    """What is always done, at each step; the span where it ran."""
    computed = np.array([True, True, False, True, False])
    stats = Stats(computed, np.zeros(5), np.int32(3), np.asarray(False))
    assert ForwardFlops(10, 1000).of(stats) == 3050
    assert ForwardFlops(0, 7).of(stats) == 21
