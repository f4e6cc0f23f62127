"""DreamZero in stages: they are the whole network, and caches look inside it."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import DreamZeroCondition, DreamZeroModel, bind

from ..robots import observation, pipeline, prompts
from ..small import I2V, SMALL, inputs, random_cache, random_weights

SIZE = (4, 4)
# Three layers: a span may begin and end within. ``t2v`` is computed as ``ti2v``.
CONFIGS = {"ti2v": replace(SMALL, num_layers=3), "i2v": I2V}
T = {"video": jnp.array([700.0, 10.0]), "action": jnp.array([300.0, 999.0])}


@functools.partial(jax.jit, static_argnums=0)
def _condition(config, weights, given, cache):
    context = bind(config, weights).encode_context(given["text"], given.get("image"))
    return DreamZeroCondition(context, cache, given["state"], given.get("y"))


@functools.partial(jax.jit, static_argnums=0)
def _stages(config, weights, x, condition):
    """Tokens and modulation; tokens by the cuts between the blocks; and what is said.

    A span with some first and some last blocks left out cuts twice.
    """
    model, layers = DreamZeroModel(config, SIZE), config.num_layers
    start, stage = model.embed(weights, x, T, condition)

    @functools.cache
    def through(*cuts):
        if len(cuts) == 1:
            return start
        return model.blocks(weights, through(*cuts[:-1]), stage, *cuts[-2:])

    spans = [(i, layers - j) for i in range(layers) for j in range(layers - i)]
    # What is not cut at all is `denoise`.
    cuts = {tuple(sorted({0, *span, layers})) for span in spans} - {(0, layers)}
    last = [through(*places) for places in sorted(cuts)]
    every = through(*range(layers + 1))
    heads = {
        said: DreamZeroModel(config, SIZE, said).head(weights, every, stage)
        for said in ("velocity", "sample")
    }
    whole = model.denoise(weights, x, T, condition)
    first = start, stage.embedded.modulation, model.modulated(weights, start, stage)
    return first, last, heads, whole


@pytest.fixture(scope="module", params=CONFIGS)
def asked(request):
    """A configuration, its weights, what they are shown, and what they say."""
    config = CONFIGS[request.param]
    weights, given = random_weights(config), inputs(config, 2)
    condition = _condition(config, weights, given, random_cache(config, [1, 2]))
    x = {name: given[name] for name in ("video", "action")}
    return config, weights, x, _stages(config, weights, x, condition)


def test_stages_compose_to_the_forward(asked):
    """Wherever the blocks are cut, the stages say what `denoise` says."""
    config, *_, (_, last, heads, whole) = asked
    assert len(last) == 2 ** (config.num_layers - 1) - 1
    for tokens in last[1:]:
        np.testing.assert_allclose(tokens, last[0], atol=1e-6, rtol=1e-6)
    for name, wanted in whole.items():
        said = heads["velocity"][name]
        np.testing.assert_allclose(said, wanted, atol=1e-6, rtol=1e-6)


def test_a_clean_sample_is_made_a_velocity(asked):
    """``(sample - said) / sigma``, and sigma is not too small to divide by."""
    *_, x, (_, _, heads, whole) = asked
    for name, said in whole.items():
        sigma = np.maximum(np.asarray(T[name]) / 1000, 0.02)
        sigma = sigma.reshape(-1, *(1,) * (said.ndim - 1))
        wanted = (x[name] - np.asarray(said)) / sigma
        np.testing.assert_allclose(heads["sample"][name], wanted, atol=1e-4, rtol=1e-5)


def test_modulated_is_what_the_first_block_sees(asked):
    """Block 0's attention input: normalised tokens, each by its own timestep."""
    config, weights, _, ((tokens, modulation, seen), *_) = asked
    assert seen.shape == tokens.shape
    x = np.asarray(tokens)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + config.eps
    )
    video = config.num_frame_per_block * config.frame_seqlen
    counts = [video, x.shape[1] - video]
    shift, scale = (
        np.repeat(
            np.asarray(modulation)[:, :, j] + weights["blocks"]["modulation"][0, j],
            counts,
            axis=1,
        )
        for j in (0, 1)
    )
    np.testing.assert_allclose(seen, normal * (1 + scale) + shift, atol=1e-4)
    assert np.abs(np.diff(modulation, axis=1)).max() > 1e-2, "one timestep for all"


def test_a_pipeline_skips_blocks():
    """With TeaCache a control step computes some steps; a threshold of 0 all of them.

    Then the step is the uncached one's, under guidance.
    """

    def step(**cache):
        pipe = pipeline(**cache)
        return pipe(pipe.start(*prompts(1)), observation(1, 0))

    uncached = step()
    computing, skipping = (
        step(cache_backend="tea_cache", cache_config={"rel_l1_thresh": threshold})
        for threshold in (1e-9, 0.3)
    )
    assert np.asarray(computing.stats.computed).all()
    assert 0 < skipping.stats.model_calls < 16
    assert skipping.stats.computed[0]
    assert skipping.stats.branches.computed.shape == (16, 2)
    for name in ("action", "video"):
        wanted = getattr(uncached, name)
        np.testing.assert_allclose(getattr(computing, name), wanted, atol=1e-5)
        assert np.abs(getattr(skipping, name) - wanted).max() > 1e-4
