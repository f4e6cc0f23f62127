"""What `adapt` cannot take apart is told in words, before anything is compiled."""

import copy
import pickle

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jax_stepcache import adapt, sample
from tests.network.adapting import strangers

WAN = strangers.WanLike(nnx.Rngs(0))
DIT = strangers.DiTLike()
GIVEN = strangers.noise(), jnp.ones(2), strangers.text()
VARIABLES = DIT.init(jax.random.key(0), *GIVEN)
WEIGHTS = strangers.function_weights()


def ravelled():
    return {"layers": {"a": jnp.ones((3, 2)), "b": jnp.ones((4, 2))}}


MODULE = {"blocks": lambda n: n.blocks}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: adapt(WAN, blocks=[]), r"blocks is \[\]; of a module"),
        (lambda: adapt(WAN, blocks=lambda: 1), r"called as blocks\(network\)"),
        (lambda: adapt(WAN, blocks=lambda n: n["blocks"]), "fails on a WanLike"),
        (
            lambda: adapt(WAN, blocks=lambda n: [n.blocks[0]] * 3),
            "gives one WanBlock more than once",
        ),
        (lambda: adapt(WAN, **MODULE, call=3), r"call is 3; .* \(network, sample, t"),
        (lambda: adapt(WAN, **MODULE, call=lambda n, x: 1), r"call takes \(n, x\)"),
        (lambda: adapt(WAN, **MODULE, sampler=3), r"\(network, noise, seen\)"),
        (lambda: adapt(DIT, VARIABLES, blocks=[]), "blocks= gives none"),
        (lambda: adapt(DIT, VARIABLES, blocks=lambda n: n.x), "what is not there"),
        (
            lambda: adapt(DIT, VARIABLES, blocks="dit_block_*", modulated="attentio"),
            "Did you mean 'attention'",
        ),
        (lambda: adapt(strangers.function_like, 3, blocks="x"), "must be a dict"),
        (
            lambda: adapt(strangers.function_like, WEIGHTS, blocks=lambda w: w["x"]),
            "it is the name of the stacked weights",
        ),
        (lambda: adapt(WAN, blocks=lambda n: n.block), "Did you mean 'blocks'"),
        (lambda: adapt(WAN, blocks="blocks"), "blocks is 'blocks'; of a module"),
        (lambda: adapt(WAN, blocks=lambda n: []), "gives an empty list"),
        (lambda: adapt(WAN, blocks=lambda n: [n.num_layers]), "gives 3 among others"),
        (lambda: adapt(WAN, {}, blocks=lambda n: n.blocks), "leave out weights="),
        (lambda: adapt(WAN, block=lambda n: n.blocks), "Did you mean 'blocks'"),
        (lambda: adapt(nnx.Linear, blocks=lambda n: n.blocks), "a class; give an obj"),
        (lambda: adapt(3, blocks="x"), "network is a int"),
        (
            lambda: adapt(
                WAN, blocks=lambda n: n.blocks, modulated=lambda block: block.attn2
            ),
            "Did you mean 'attn1'",
        ),
        (
            lambda: adapt(WAN, blocks=lambda n: n.blocks[0]),
            "gives no stacked blocks: the first axis",
        ),
        (lambda: adapt(DIT, VARIABLES, blocks="dit_blok_*"), "mean 'dit_block_.*'"),
        (lambda: adapt(DIT, VARIABLES, blocks=3), "blocks is 3; give a name"),
        (lambda: adapt(DIT, blocks="dit_block_*"), "{'params': ...}; got None"),
        (lambda: adapt(DIT, VARIABLES["params"], blocks="x"), "its variables"),
        (
            lambda: adapt(DIT, VARIABLES, blocks="dit_block_*", modulated=len),
            "it is the name of the part",
        ),
        (
            lambda: adapt(strangers.function_like, blocks="layers"),
            "give its weights too",
        ),
        (
            lambda: adapt(strangers.function_like, WEIGHTS, blocks="layer"),
            "Did you mean 'layers'",
        ),
        (
            lambda: adapt(strangers.function_like, ravelled(), blocks="layers"),
            "the same for all",
        ),
        (
            lambda: adapt(len, WEIGHTS, blocks="layers", modulated="x"),
            "of a function TeaCache needs StagedDenoiser",
        ),
    ],
)
def test_what_is_given(made, words):
    """When the network is adapted: kinds and names."""
    with pytest.raises((TypeError, ValueError), match=words):
        made()


TAKEN, MODEL = adapt(WAN, **MODULE)
DEEPER, _ = adapt(strangers.WanLike(nnx.Rngs(1), depth=4), **MODULE)
LINEN, LINEN_MODEL = adapt(DIT, VARIABLES, blocks="dit_block_*")
PLAIN, PLAIN_MODEL = adapt(strangers.function_like, WEIGHTS, blocks="layers")


@pytest.mark.parametrize(
    ("weights", "model", "more", "words"),
    [
        (
            WAN,
            MODEL,
            {},
            r"WanLike\(...\), a module that holds them; .* adapt returned",
        ),
        (DEEPER, MODEL, {}, "another network .22 arrays, 18 are wanted"),
        (None, MODEL, {}, "the weights are None"),
        (DEEPER, MODEL, {"cache": None}, "another network .22 arrays"),
        (TAKEN, LINEN_MODEL, {}, "DiTLike failed.*those of another network"),
        (VARIABLES["params"], LINEN_MODEL, {}, r"variables, \{'params'"),
        ({}, PLAIN_MODEL, {}, "function_like failed.*the weights are {}"),
        (TAKEN, MODEL, {"noise": jnp.ones((2, 4, 5))}, r"sample of array \[2, 4, 5\]"),
        (LINEN, LINEN_MODEL, {"noise": jnp.ones((2, 4, 5))}, "ScopeParamShapeError"),
        (TAKEN, MODEL, {"noise": {"a": strangers.noise()}}, "sample of {'a': array"),
        (TAKEN, MODEL, {"condition": None}, "condition= may be what it lacks"),
        (TAKEN, MODEL, {"condition": jnp.ones((2, 7))}, r"condition of array \[2, 7\]"),
        (PLAIN, PLAIN_MODEL, {"noise": jnp.ones((2, 4, 5))}, r"array \[2, 4, 5\]"),
    ],
)
def test_what_is_sampled_with(weights, model, more, words):
    """Weights of another network, and inputs that it cannot take: what it was given."""
    given = {"noise": strangers.noise(), "condition": strangers.text()}
    given |= {"cache": "cache_dit", "num_inference_steps": 6}
    with pytest.raises(ValueError, match=words):
        sample(weights, model=model, **(given | more))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MODEL, r"adapt\(network, blocks=, modulated=\)"),
        (PLAIN_MODEL, r"StagedDenoiser\(..., modulated=\)"),
    ],
)
def test_advice_is_of_the_constructor(model, words):
    """What TeaCache lacks is asked for by the argument that takes it."""
    weights = TAKEN if model is MODEL else PLAIN
    given = {"noise": strangers.noise(), "condition": strangers.text()}
    with pytest.raises(ValueError, match=words):
        sample(weights, model=model, cache="tea_cache", **given)


def test_copies_are_the_model_itself():
    """Another object would be another program; in no file are there functions."""
    assert copy.deepcopy(MODEL) is MODEL
    with pytest.raises(TypeError, match="call adapt again where they are read"):
        pickle.dumps(MODEL)


class Odd(nnx.Module):
    """Blocks of which something is made that does not come apart."""

    def __init__(self, goes):
        self.inward = nnx.Linear(3, 8, rngs=nnx.Rngs(0))
        self.outward = nnx.Linear(8, 3, rngs=nnx.Rngs(1))
        blocks = [strangers.SingleBlock(nnx.Rngs(i)) for i in range(3)]
        self.blocks, self.goes = nnx.List(blocks), goes

    def __call__(self, x, t, condition):
        x = self.inward(x)
        return self.outward(self.goes(self.blocks, x, condition))


def skips(blocks, x, temb):
    first = blocks[0](x, temb)
    return blocks[2](blocks[1](first, temb) + first, temb)


def head_reads(blocks, x, temb):
    first = blocks[0](x, temb)
    return first + blocks[2](blocks[1](first, temb), temb)


def calls_two(blocks, x, temb):
    return blocks[1](blocks[0](x, temb), temb)


def calls_twice(blocks, x, temb):
    for i in (0, 1, 1, 2):
        x = blocks[i](x, temb)
    return x


def turns_around(blocks, x, temb):
    for i in (0, 2, 1):
        x = blocks[i](x, temb)
    return x


def calls_inside(blocks, x, temb):
    for block in blocks:
        x = block.inner(x)
    return x


def loops(blocks, x, temb):
    def body(i, x):
        for block in blocks:
            x = block(x, temb)
        return x

    return jax.lax.fori_loop(0, 2, body, x)


def prints(blocks, x, temb):
    jax.debug.print("{}", x.sum())
    for block in blocks:
        x = block(x, temb)
    return x


def tells_less(blocks, x, temb):
    x = blocks[0](x, temb)
    x = blocks[1](x[:, :2], temb)
    return jnp.repeat(blocks[2](x, temb), 2, 1)


@pytest.mark.parametrize(
    ("goes", "words"),
    [
        (skips, "block 2 reads what block 0 returned, past block 1: a skip"),
        (head_reads, "what follows the blocks reads what block 0 returned"),
        (calls_two, r"does not call block 2 as block\(...\)"),
        (calls_twice, "calls block 1 more than once"),
        (turns_around, "in another order: block 0, block 2, block 1"),
        (calls_inside, "does not call any of its 3 blocks"),
        (loops, "the blocks are called inside (scan|while)"),
        (prints, "has side effects"),
        (tells_less, "must keep its structure and shapes"),
    ],
)
def test_what_is_traced(goes, words):
    """When the network is traced: calls, and what flows."""
    weights, model = adapt(Odd(goes), blocks=lambda n: n.blocks)
    with pytest.raises(ValueError, match=words):
        sample(
            weights,
            model=model,
            noise=strangers.noise(),
            condition=strangers.text(),
            cache="cache_dit",
        )


def test_a_part_that_is_not_called():
    """What TeaCache is to look at must be called by block 0."""

    class Bare(strangers.SingleBlock):
        def __call__(self, x, temb):
            return x + x @ self.inner.kernel[...] + temb[:, None]

    network = Odd(lambda blocks, x, c: blocks[0](x, c))
    network.blocks = nnx.List([Bare(nnx.Rngs(0))])
    weights, model = adapt(
        network, blocks=lambda n: n.blocks, modulated=lambda block: block.inner
    )
    hidden, context = model.embed(weights, *GIVEN)
    with pytest.raises(ValueError, match="a part of block 0 that the block does not"):
        model.modulated(weights, hidden, context)


def test_scans_twice():
    """A prefix that goes through the same blocks belongs before the sampling."""

    def twice(weights, x, t, condition):
        once = strangers.function_like(weights, x, t, condition)
        return strangers.function_like(weights, once, t, condition)

    weights, model = adapt(twice, WEIGHTS, blocks="layers")
    with pytest.raises(ValueError, match=r"gives 3 blocks, and .* through 6 of them"):
        model.embed(weights, *GIVEN)
