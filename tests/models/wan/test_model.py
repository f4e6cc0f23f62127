"""The model: its stages, its experts, what it is shown."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, Request, sample, sample_many
from jax_stepcache.checkpoints.layers import layers_apart
from jax_stepcache.models.wan import WanModel, bind
from jax_stepcache.models.wan.network.stages import WanCondition

from .small import LATENT, ONE, SMALL, TWO, noise, pair, params, text


@jax.jit
def _both(weights, x, t, shown):
    """The velocity of two experts, and of each alone."""
    model = WanModel(TWO, LATENT)
    condition = model.prepare(weights, shown, False)
    mixed = model.denoise(weights, x, t, condition)
    alone = [
        WanModel(ONE, LATENT).denoise(
            weights[name], x, t, condition._replace(contexts=(context,))
        )
        for name, context in zip(("high", "low"), condition.contexts, strict=True)
    ]
    return mixed, alone


@pytest.mark.parametrize("t", [[900.0, 701.0], [100.0, 699.0], [900.0, 100.0]])
def test_each_row_asks_its_own_expert(t: list[float]) -> None:
    """By its timestep, whatever the rows beside it ask."""
    weights, _ = pair(TWO)
    times = jnp.asarray(t, jnp.float32)
    mixed, (high, low) = _both(weights, noise(2), times, text(2))
    wanted = np.where((times < 700)[:, None, None, None, None], low, high)
    np.testing.assert_allclose(mixed, wanted, atol=1e-5)
    assert np.abs(high - low).max() > 0.1


@functools.partial(jax.jit, static_argnums=0)
def _staged(model, weights, shown, x, t):
    """The network as it is, and stage by stage."""
    condition = model.prepare(weights, shown, False)
    hidden, stage = model.embed(weights, x, t, condition)
    for start, stop in ((0, 1), (1, SMALL.num_layers)):
        hidden = model.blocks(weights, hidden, stage, start, stop)
    whole = model.denoise(weights, x, t, condition)
    return whole, model.head(weights, hidden, stage), model.times(weights, None, stage)


def test_stages_are_the_network() -> None:
    """Embedding, blocks in parts and head make the velocity; so do layers apart."""
    weights, model = pair()
    given = text(2), noise(2), jnp.asarray([900.0, 100.0])
    whole, staged, _ = _staged(model, weights, *given)
    np.testing.assert_allclose(staged, whole, atol=1e-5)
    apart = _staged(model, layers_apart(weights), *given)
    np.testing.assert_allclose(apart[0], whole, atol=1e-5)
    np.testing.assert_allclose(apart[1], whole, atol=1e-5)


def test_a_given_frame_is_free_of_noise() -> None:
    """Its latent stands for the sample's, at timestep 0, in two rows of times."""
    weights, _ = pair()
    model = WanModel(replace(ONE, task="ti2v"), LATENT)
    first, t = noise(2, 5)[:, :, :1], jnp.asarray([900.0, 300.0])
    velocity, _, told = _staged(
        model, weights, {**text(2), "first": first}, noise(2), t
    )

    frames, rows, cols = LATENT[0], LATENT[1] // 2, LATENT[2] // 2
    each = jnp.repeat(t[:, None], frames * rows * cols, axis=1)
    each = each.at[:, : rows * cols].set(0)

    @jax.jit
    def by_token(weights, shown):
        network = bind(SMALL, weights)
        context = network.encode_prompt(text(2)["text"])
        return network(shown, each, context), network.embed_times(each).embedding

    wanted, tokens = by_token(weights, noise(2).at[:, :, :1].set(first))
    np.testing.assert_allclose(velocity, wanted, atol=1e-5)
    # The mean over rows of times is that over tokens.
    mean = jnp.abs(told["embedding"]).mean()
    np.testing.assert_allclose(mean, jnp.abs(tokens).mean(), rtol=1e-5)


def test_each_expert_has_its_guidance() -> None:
    """The second scale is the low-noise expert's; it changes no earlier step."""
    shown = text(1)
    given = {"noise": noise(1), "num_inference_steps": 4}
    usual = sample(params(TWO), observation=shown, **given).sample
    scale = jnp.full((1,), 2.0)
    same = sample(
        params(TWO), observation={**shown, "guidance_scale_2": scale}, **given
    )
    other = sample(
        params(TWO), observation={**shown, "guidance_scale_2": 3 * scale}, **given
    )
    np.testing.assert_array_equal(usual, same.sample)
    assert np.abs(usual - other.sample).max() > 1e-2


@pytest.mark.slow
def test_requests_beside_others_are_as_alone() -> None:
    """In slots at other steps, of another expert perhaps, nothing changes."""
    settings = {"max_warmup_steps": 1, "residual_diff_threshold": 0.9}
    both = params(TWO)
    requests = [
        Request(
            observation=text(1, seed),
            noise=noise(1, seed),
            num_inference_steps=steps,
            cache="cache_dit",
            cache_config=settings,
        )
        for seed, steps in enumerate((5, 4, 5))
    ]
    together = sample_many(both, requests, slots=2)
    skipped = 0
    for request, result in zip(requests, together, strict=True):
        alone = sample(both, **request.options())
        ran = [
            np.asarray(
                one.stats.computed
                if one.stats.branches is None
                else one.stats.branches.computed
            )
            for one in (result, alone)
        ]
        np.testing.assert_array_equal(*ran)
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-4)
        skipped += int((~ran[0]).sum())
    assert skipped


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({}, "mapping with 'text'"),
        ({"image": jnp.zeros((1, 3, 4))}, "unknown part of observation 'image'"),
        ({"negative_text": jnp.zeros((1, 2, 6))}, "negative_text"),
    ],
)
def test_what_it_is_not_shown(shown: dict, said: str) -> None:
    """A missing prompt, an image for words, a prompt of another length are named."""
    given = {**text(1), **shown} if shown else {}
    with pytest.raises(ValueError, match=said):
        params().model.check_observation(given)


def test_an_image_that_is_missing() -> None:
    """An image-to-video transformer says what it lacks."""
    config = replace(SMALL, in_channels=8, image_dim=4, added_kv_proj_dim=16)
    model = WanModel(replace(ONE, transformer=config, task="i2v"), LATENT)
    with pytest.raises(ValueError, match=r"lacks \['beside', 'image'\]"):
        model.check_observation(text(1))
    assert model.check_observation(model.example(jax.random.key(0), 2)) == 2


def test_a_row_without_guidance_has_none_at_either_expert() -> None:
    """Scale 1 is that; the low-noise expert's own scale is for rows that are guided."""
    condition = WanCondition((), low_scale=jnp.full((4,), 3.0))
    scales, times = jnp.asarray([1.0, 5.0]), jnp.full((4,), 100.0)
    model = WanModel(TWO, LATENT)
    low = model.guidance_at(scales, times, condition)
    high = model.guidance_at(scales, times + 800, condition)
    assert (low.tolist(), high.tolist()) == ([1.0, 3.0], [1.0, 5.0])


def test_in_bfloat16_the_timestep_stays_float32() -> None:
    """Rule: time embedding and modulation are those of the float32 network, as in the
    original, and tokens are bfloat16."""
    weights, _ = pair()

    @functools.partial(jax.jit, static_argnums=0)
    def embedded(model, x, t, shown):
        return model.embed(weights, x, t, model.prepare(weights, shown, False))

    wide, narrow = (
        embedded(
            WanModel(replace(ONE, transformer=replace(SMALL, dtype=name)), LATENT),
            noise(2),
            jnp.asarray([3.0, 993.0]),
            text(2),
        )
        for name in ("float32", "bfloat16")
    )
    assert narrow[0].dtype == jnp.bfloat16
    for one, other in zip(wide[1].timed, narrow[1].timed, strict=True):
        assert other.dtype == jnp.float32
        np.testing.assert_array_equal(one, other)


def test_films_of_other_sizes_go_in_batches_of_their_own() -> None:
    """Rule: `sample_many(shapes=)` makes the model for each request's size."""
    weights, model = pair()
    options = {"num_inference_steps": 2, "shapes": "each", "guidance_scale": 1.0}
    sizes = [LATENT, (1, 2, 2), LATENT]
    shown = {"text": text(1)["text"]}
    requests = [
        Request(
            observation=shown,
            noise=jax.random.normal(jax.random.key(i), (1, 2, *size)),
        )
        for i, size in enumerate(sizes)
    ]
    many = sample_many(params(), requests, **options)
    own = replace(model, latent_size=sizes[1])
    alone = sample(
        Params(weights, own),
        observation=shown,
        noise=requests[1].noise,
        num_inference_steps=2,
        guidance_scale=1.0,
    )
    np.testing.assert_allclose(many[1].sample, alone.sample, atol=1e-5)
    assert [x.sample.shape[2:] for x in many] == sizes
    odd = Request(observation=shown, noise=jnp.zeros((1, 2, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"requests\[0\].*multiples of"):
        sample_many(params(), [odd], **options)
