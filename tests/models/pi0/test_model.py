"""pi0 as a model of this library: stages, levels, observations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jax_stepcache
from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models import pi0
from jax_stepcache.models.pi0.tiny import config_of_tiny
from jax_stepcache.network.params import Params


@pytest.fixture(scope="module", params=[False, True], ids=["pi0", "pi05"])
def params(request):
    model = pi0.Pi0Model(config_of_tiny(request.param))
    return Params(pi0.init_weights(model.config, jax.random.key(0)), model)


def test_stages_compose_to_the_forward(params):
    """Wherever the blocks are cut."""
    model, weights = params.model, params.weights
    condition = model.prepare(weights, model.example(jax.random.key(1), 2), False)
    x, t = jax.random.normal(jax.random.key(2), (2, 6, 12)), jnp.array([900.0, 40.0])

    @jax.jit
    def both(x):
        hidden, stage = model.embed(weights, x, t, condition)
        hidden = model.blocks(weights, hidden, stage, 0, 1)
        hidden = model.blocks(weights, hidden, stage, 1, 2)
        return model.denoise(weights, x, t, condition), model.head(
            weights, hidden, stage
        )

    whole, parts = both(x)
    assert whole.dtype == jnp.float32
    assert whole.shape == x.shape
    np.testing.assert_allclose(parts, whole, atol=2e-6)


@given(st.integers(1, 64))
def test_levels_are_counted_in_float32(num_steps):
    """From 1 by the same float32 step, as the original's loop; the last one is 0."""
    schedule = pi0.Pi0Model(config_of_tiny(False)).usual_schedule(num_steps, 1.0)
    assert schedule.num_steps == num_steps
    assert (schedule.sigmas[0], schedule.sigmas[-1]) == (1.0, 0.0)
    steps = -np.diff(np.asarray(schedule.sigmas[:-1], np.float32))
    np.testing.assert_allclose(steps, np.float32(1 / num_steps), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"final_noise": 0.5}, "noise levels of its own"),
        ({"guidance_scale": 2.0}, "no unconditional branch"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"cache": "tuned", "budget": 4}, "no tuned schedules, neither of 4"),
    ],
)
def test_what_it_has_not_is_told(params, options, words):
    """Before anything is compiled, with what to use."""
    with pytest.raises(ValueError, match=words):
        jax_stepcache.sample(params, **options)


def test_every_weight_of_the_blocks_has_names_for_its_axes(params):
    """And as many as it has axes, that of the layers first."""
    for name, x in flat(pi0.weight_shapes(params.model.config)).items():
        axes = pi0.weight_axes(name, len(x.shape))
        assert len(axes) == len(x.shape)
        if "blocks" in name and name.endswith("kernel"):
            assert axes[0] == "layers"
            assert set(axes) & {"heads", "mlp", "embed"}


def _changed(observation, name, value):
    return {**observation, name: value}


def test_observations_that_do_not_fit_are_told(params):
    """By the part that is wrong, and the nearest name."""
    model = params.model
    shown = model.example(jax.random.key(0), 2)
    assert model.check_observation(shown) == 2
    cameras = shown["image"]
    first = pi0.CAMERAS[0]
    for wrong, words in (
        ({}, "the model takes"),
        (_changed(shown, "images", cameras), "the model takes"),
        (_changed(shown, "state", jnp.zeros((2, 3))), r"observation\['state'\]"),
        (_changed(shown, "image", {first: cameras[first]}), "lacks"),
        (
            _changed(shown, "image", {**cameras, "base_rgb": cameras[first]}),
            "base_0_rgb",
        ),
        (
            _changed(shown, "image", {**cameras, first: jnp.zeros((2, 4, 4))}),
            "give uint8 or float32",
        ),
        (_changed(shown, "image_mask", {first: jnp.ones(3, bool)}), "image_mask"),
    ):
        with pytest.raises(ValueError, match=words):
            model.check_observation(wrong)


def test_a_missing_picture_is_not_seen(params):
    """What it shows changes nothing, where the mask says that there is none."""
    model, weights = params.model, params.weights
    shown = model.example(jax.random.key(0), 1)
    first = pi0.CAMERAS[0]
    shown["image_mask"] = {first: jnp.zeros(1, bool)}
    x, t = jax.random.normal(jax.random.key(2), (1, 6, 12)), jnp.array([500.0])

    @jax.jit
    def velocity(picture):
        other = {**shown, "image": {**shown["image"], first: picture}}
        return model.denoise(weights, x, t, model.prepare(weights, other, False))

    grey, white = velocity(shown["image"][first]), velocity(jnp.ones((1, 56, 56, 3)))
    np.testing.assert_array_equal(grey, white)
