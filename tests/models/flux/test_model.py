"""FLUX as a model of the library: stages, lists of blocks, attentions, slots."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Request,
    StagedDenoiser,
    db_cache,
    each_list,
    load_model,
    sample,
    sample_many,
    tea_cache,
)
from jax_stepcache.checkpoints.layers import layers_apart
from jax_stepcache.models.flux import FluxConfig, FluxModel, model_of
from tests.models.flux.small import params, shown

OWN = {"residual_diff_threshold": 0.4, "max_warmup_steps": 2}
EAGER = {"residual_diff_threshold": 9.0}
STEPS = 6


def run(**more):
    given = {"observation": shown(), "num_inference_steps": STEPS, "solver": "euler"}
    return sample(params(), key=jax.random.key(3), **(given | more))


def given(rows=2):
    model = params().model
    condition = model.prepare(params().weights, shown(rows), guided=False)
    x = jax.random.normal(jax.random.key(4), model.noise_struct(rows).shape)
    return x, jnp.asarray([700.0, 300.0])[:rows], condition


@pytest.mark.slow
def test_stages_make_the_network():
    """Wherever the blocks are cut, also in the other list, the whole is the same."""
    weights, model = params().weights, params().model
    x, t, condition = given()

    @jax.jit
    def cut(weights):
        hidden, context = model.embed(weights, x, t, condition)
        for i in range(model.num_blocks):
            hidden = model.blocks(weights, hidden, context, i, i + 1)
        return model.head(weights, hidden, context)

    whole = jax.jit(lambda w: model.denoise(w, x, t, condition))(weights)
    np.testing.assert_allclose(cut(weights), whole, atol=1e-5)
    assert model.block_lists == (2, 3)
    assert np.ptp(whole) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_given_what_attentions_say_blocks_say_the_same(apart):
    """With layers stacked or apart; and with something else they say something else."""
    weights, model = params().weights, params().model
    weights = layers_apart(weights) if apart else weights
    x, t, condition = given()

    @jax.jit
    def both(weights, factor):
        hidden, context = model.embed(weights, x, t, condition)
        after, said = model.attended(weights, hidden, context)
        said = jax.tree.map(lambda y: y * factor, said)
        return after, model.attended(weights, hidden, context, said)[0]

    computed, reused = both(weights, 1.0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), computed, reused
    )
    computed, other = both(weights, 2.0)
    assert np.abs(computed.image - other.image).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "cached",
    [
        {"cache": "cache_dit", "cache_config": {**OWN, **EAGER, "block_lists": "each"}},
        {
            "cache": "taylor_seer",
            "cache_config": {"attention_only": True, "cache_interval": 3},
        },
    ],
)
def test_caches_of_lists_and_attentions_with_true_guidance(cached):
    """Each guidance branch as it is in a run of its own where both decide alike."""
    observation = shown()
    for name in ("text", "pooled"):
        observation[f"negative_{name}"] = observation[name]
    alone = run(**cached)
    both = run(**cached, observation=observation, guidance_scale=2.0)
    np.testing.assert_array_equal(alone.stats.computed, both.stats.computed)
    assert not alone.stats.computed.all()
    np.testing.assert_allclose(alone.sample, both.sample, atol=1e-4)


@pytest.mark.slow
def test_lists_decide_alone():
    """A first list that always computes leaves the second as it would be."""
    always = each_list(db_cache(0.0), db_cache(9.0, warmup_steps=2))
    found = run(cache=always)
    assert found.stats.computed.shape == (STEPS,)
    never = each_list(db_cache(0.0), db_cache(0.0))
    plain = run()
    np.testing.assert_allclose(run(cache=never).sample, plain.sample, atol=1e-5)
    assert np.abs(found.sample - plain.sample).max() > 0


@pytest.mark.slow
def test_pictures_go_through_slots():
    """Requests that share slots have the samples that they have alone."""
    one = {"cache": "cache_dit", "cache_config": OWN, "solver": "euler"}
    rows = shown(3)
    requests = [
        Request(
            observation=jax.tree.map(lambda x, i=i: x[i : i + 1], rows),
            key=jax.random.key(i),
        )
        for i in range(3)
    ]
    levels = params().model.schedule(STEPS)
    together = sample_many(params(), requests, slots=2, schedule=levels, **one)
    for request, result in zip(requests, together, strict=True):
        alone = sample(
            params(),
            observation=request.observation,
            key=request.key,
            schedule=levels,
            **one,
        )
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-5)
        np.testing.assert_array_equal(result.stats.computed, alone.stats.computed)


def test_bad_input():
    """What came, what is wanted, and the nearest right name, before compiling."""
    with pytest.raises(ValueError, match="axes_dims_rope must be three even numbers"):
        FluxConfig(axes_dims_rope=(16, 56, 50))
    with pytest.raises(ValueError, match="Did you mean 'num_single_layers'"):
        FluxConfig.from_dict({"num_singel_layers": 3})
    with pytest.raises(ValueError, match="1008 and 1024 are the nearest"):
        model_of(params().model.release, (1009, 1024))
    with pytest.raises(ValueError, match="latent_size"):
        FluxModel(params().model.release, (3, 4))
    with pytest.raises(ValueError, match="lacks 'pooled'"):
        run(observation={"text": shown()["text"]})
    with pytest.raises(ValueError, match="Did you mean 'guidance'"):
        run(observation=shown() | {"guidence": np.ones(1, np.float32)})
    with pytest.raises(ValueError, match="Did you mean 'each'"):
        run(cache="cache_dit", cache_config={"block_lists": "eech"})
    with pytest.raises(ValueError, match="give one of them"):
        run(
            cache="taylor_seer",
            cache_config={"attention_only": True, "use_lite_mode": True},
        )
    with pytest.raises(ValueError, match="belongs to the first list"):
        each_list(tea_cache(), tea_cache())
    with pytest.raises(ValueError, match="of the 2 blocks in list 0"):
        run(cache=each_list(db_cache(first_blocks=2), db_cache()))
    with pytest.raises(ValueError, match="give block_lists='joined', or one policy"):
        run(cache=each_list(db_cache(), db_cache()), decide="sample")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # That no step is skipped matters less.
        with pytest.raises(
            ValueError, match=r"requests\[0\].*leave out attention_only"
        ):
            sample_many(
                params(),
                [Request(observation=shown())],
                cache="taylor_seer",
                cache_config={"attention_only": True},
                num_inference_steps=3,
            )
    stages = StagedDenoiser(2, *[lambda *x: x[1]] * 3)
    own = {"model": stages, "noise": np.ones((1, 2, 3), np.float32), "condition": None}
    each = {"cache": "cache_dit", "cache_config": {"block_lists": "each"}}
    with pytest.raises(ValueError, match="has one list"):
        sample({}, **own, **each)
    only = {"cache": "taylor_seer", "cache_config": {"attention_only": True}}
    with pytest.raises(ValueError, match="lacks 'attended'"):
        sample({}, **own, **only)


def test_sampled_by_name_it_has_its_own_levels():
    """Those of the release, for its size; another shift bends even ones."""
    model = load_model("flux.1-dev")
    usual = model.defaults.shift
    assert model.usual_schedule(28, usual) == model.schedule(28)
    other = model.usual_schedule(4, 3.0)
    even = np.linspace(1, 1 / 4, 4)
    np.testing.assert_allclose(other.sigmas[:-1], 3 * even / (1 + 2 * even))
    assert other.sigmas[-1] == 0
