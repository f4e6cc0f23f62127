"""Caches decide and sample with found stages as with those written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import Request, StagedDenoiser, sample, sample_many
from tests.network.adapting import strangers
from tests.network.adapting.adapted import case
from tests.staged import NUM_STEPS, SKIPPING


@functools.cache
def by_hand():
    """The stages of `WanLike`, as its user would write them."""
    graph, _ = nnx.split(strangers.WanLike(nnx.Rngs(0)))

    def embed(weights, x, t, condition):
        hidden, temb = nnx.merge(graph, weights).embedded(x, t)
        return hidden, (condition, temb)

    def blocks(weights, hidden, context, start, stop):
        network = nnx.merge(graph, weights)
        for block in list(network.blocks)[start:stop]:
            hidden = block(hidden, *context, True)
        return hidden

    def head(weights, hidden, context):
        return nnx.merge(graph, weights).proj_out(hidden + context[1][:, None])

    def modulated(weights, hidden, context):
        block = nnx.merge(graph, weights).blocks[0]
        scale, shift = strangers.modulation(block.ada, context[1])
        return hidden * (1 + scale) + shift

    return StagedDenoiser(strangers.DEPTH, embed, blocks, head, modulated)


def run(weights, model, condition, cache, **more):
    guided = {"negative_condition": -condition, "guidance_scale": 2.0}
    return sample(
        weights,
        model=model,
        noise=strangers.noise(),
        condition=condition,
        cache=cache,
        cache_config=SKIPPING[cache],
        num_inference_steps=NUM_STEPS,
        solver="euler",
        **(guided if more.pop("guided", False) else {}),
        **more,
    )


SLOW = pytest.mark.slow
CACHES = [
    pytest.param(name, marks=[] if name == "tea_cache" else SLOW) for name in SKIPPING
]


@pytest.mark.parametrize("cache", CACHES)
def test_decisions_and_samples_are_those_of_stages_by_hand(cache):
    """For every cache that looks inside."""
    weights, model, condition = case("nnx list")
    found = run(weights, model, condition, cache)
    wanted = run(weights, by_hand(), condition, cache)
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    np.testing.assert_array_equal(found.stats.signal, wanted.stats.signal)
    np.testing.assert_allclose(found.sample, wanted.sample, atol=1e-6)
    assert not np.all(found.stats.computed)


@SLOW
@pytest.mark.parametrize("more", [{"guided": True}, {"decide": "sample"}])
@pytest.mark.parametrize("cache", ["tea_cache", "cache_dit"])
def test_with_guidance_and_where_samples_decide_alone(cache, more):
    """Branches and samples are told apart in what was found by tracing, too."""
    weights, model, condition = case("nnx list")
    found = run(weights, model, condition, cache, **more)
    wanted = run(weights, by_hand(), condition, cache, **more)
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    np.testing.assert_allclose(found.sample, wanted.sample, atol=1e-6)


@SLOW
@pytest.mark.parametrize("kind", ["nnx scan", "linen"])
def test_every_kind_goes_through_slots(kind):
    """Requests that share slots have the samples that they have alone."""
    weights, model, condition = case(kind)
    requests = [
        Request(noise=strangers.noise()[i : i + 1], condition=condition[i : i + 1])
        for i in (0, 1, 0)
    ]
    shared = {
        "model": model,
        "cache": "cache_dit",
        "cache_config": SKIPPING["cache_dit"],
        "num_inference_steps": NUM_STEPS,
        "solver": "euler",
    }
    together = sample_many(weights, requests, slots=2, **shared)
    for request, result in zip(requests, together, strict=True):
        alone = sample(
            weights, noise=request.noise, condition=request.condition, **shared
        )
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-5)
        np.testing.assert_array_equal(result.stats.computed, alone.stats.computed)


def test_compiled_stages_cost_what_those_by_hand_cost():
    """What was traced and is not used is not in the compiled program."""
    weights, model, condition = case("nnx list")
    given = weights, strangers.noise(), jnp.asarray([700.0, 300.0]), condition

    def skipped(model, weights, *given):
        hidden, context = model.embed(weights, *given)
        return model.head(weights, hidden, context)

    def computed(model, weights, *given):
        hidden, context = model.embed(weights, *given)
        hidden = model.blocks(weights, hidden, context, 0, model.num_blocks)
        return model.head(weights, hidden, context)

    for what in (skipped, computed):
        costs = [
            jax.jit(functools.partial(what, m)).lower(*given).compile().cost_analysis()
            for m in (model, by_hand())
        ]
        assert costs[0]["flops"] == costs[1]["flops"] > 0, what.__name__
