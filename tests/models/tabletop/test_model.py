"""The tabletop's model: the protocol, its rows under guidance, and its episodes."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params
from jax_stepcache.models.dreamzero import denoise
from jax_stepcache.models.tabletop import (
    TabletopModel,
    config_of,
    model_from_config,
    rollout,
    tabletop_config,
    weights_struct,
)
from jax_stepcache.models.tabletop.model import instruction_embedding
from jax_stepcache.models.tabletop.world import TOLERANCE, block_distances
from jax_stepcache.policy.named import Uncached, static_schedule

MODEL = TabletopModel(tabletop_config(dim=32, num_layers=1))


@pytest.fixture(scope="module")
def weights():
    """Weights without the zeros of a fresh model, so that every part matters."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32),
        weights_struct(MODEL),
    )


@pytest.fixture(scope="module")
def observation():
    """Two tables."""
    return jax.jit(MODEL.example, static_argnums=1)(jax.random.key(0), 2)


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(rng.standard_normal(leaf.shape, np.float32))
        for name, leaf in MODEL.noise_struct(2).items()
    }


@partial(jax.jit, static_argnames="guided")
def predict(weights, observation, noise, video=600.0, action=400.0, *, guided=False):
    """The velocity and the clean sample that the model predicts."""
    condition = MODEL.prepare(weights, observation, guided)
    if guided:
        noise = jax.tree.map(lambda x: jnp.concatenate([x, x]), noise)
    rows = len(noise["action"])
    t = {"video": jnp.full(rows, video), "action": jnp.full(rows, action)}
    velocity = MODEL.denoise(weights, noise, t, condition)
    return velocity, denoise(MODEL.dit, weights, noise, t, condition)


def test_the_bundled_size_is_small_enough_to_ship():
    """At most 1.5M parameters, and at most 4 MB in float32."""
    shapes = weights_struct(TabletopModel(tabletop_config()))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 4 * count <= 4_000_000
    assert count <= 1_500_000


def test_rows_of_guidance_are_conditional_then_unconditional(
    weights, observation, noise
):
    """The first rows are the unguided ones, and the others ignore the instruction."""
    alone, _ = predict(weights, observation, noise)
    both, _ = predict(weights, observation, noise, guided=True)
    other = {**observation, "instruction": (observation["instruction"] + 1) % 5}
    told_otherwise, _ = predict(weights, other, noise, guided=True)
    for name in MODEL.outputs:
        np.testing.assert_allclose(both[name][:2], alone[name], atol=1e-5)
        np.testing.assert_allclose(both[name][2:], told_otherwise[name][2:], atol=1e-5)
        assert np.abs(both[name][:2] - told_otherwise[name][:2]).max() > 1e-4
        assert np.abs(both[name][:2] - both[name][2:]).max() > 1e-4


def test_the_velocity_leads_from_the_predicted_sample(weights, observation, noise):
    """x - sigma * velocity is the prediction, at each output's own sigma."""
    velocity, clean = predict(weights, observation, noise)
    for name, sigma in (("video", 0.6), ("action", 0.4)):
        np.testing.assert_allclose(
            noise[name] - sigma * velocity[name], clean[name], atol=1e-5
        )


def test_the_velocity_is_finite_at_the_clean_end(weights, observation, noise):
    """A timestep of zero divides by the smallest sigma, not by zero."""
    velocity, _ = predict(weights, observation, noise, 0.0, 0.0)
    assert all(np.isfinite(x).all() for x in velocity.values())


def test_encoding_and_decoding_are_inverse():
    """Frames and displacements come back from a clean sample, in their units."""
    frames = jax.random.uniform(jax.random.key(0), (2, 2, 32, 32, 3))
    actions = jax.random.uniform(
        jax.random.key(1), (2, 8, 2), minval=-0.04, maxval=0.04
    )
    sample = MODEL.encode(frames, actions)
    shapes = {name: (x.shape, x.dtype) for name, x in sample.items()}
    struct = MODEL.noise_struct(2)
    assert shapes == {name: (x.shape, x.dtype) for name, x in struct.items()}
    assert np.abs(sample["action"]).max() <= 1
    decoded = MODEL.decode(sample)
    np.testing.assert_allclose(decoded["video"], frames, atol=1e-6)
    np.testing.assert_allclose(decoded["action"], actions, atol=1e-7)
    bright = MODEL.decode({**sample, "video": 100 + sample["video"]})
    assert bright["video"].max() == 1.0


def test_bytes_and_floats_are_the_same_picture(weights, observation, noise):
    """A uint8 image is read as 255ths."""
    raw = jnp.round(observation["image"] * 255).astype(jnp.uint8)
    of_bytes = {**observation, "image": raw}
    of_floats = {**observation, "image": raw.astype(jnp.float32) / 255}
    assert MODEL.check_observation(of_bytes) == 2
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=1e-5),
        predict(weights, of_bytes, noise),
        predict(weights, of_floats, noise),
    )


def test_the_example_fits_the_struct(observation):
    """`example` makes what `observation_struct` describes."""
    assert jax.eval_shape(lambda: observation) == MODEL.observation_struct(2)
    assert MODEL.check_observation(observation) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: {k: v for k, v in o.items() if k != "state"}, "the model takes"),
        (lambda o: o["image"], "the model takes"),
        (lambda o: {**o, "image": o["image"][:, :16]}, "image"),
        (lambda o: {**o, "state": o["state"][:1]}, "leading batch"),
        (lambda o: {**o, "instruction": o["state"][:, 0]}, "instruction"),
    ],
)
def test_observations_that_do_not_fit_are_refused(change, message, observation):
    """The error names the part that is wrong."""
    with pytest.raises(ValueError, match=message):
        MODEL.check_observation(change(observation))


@pytest.mark.parametrize("colour", [5, -1, 99])
def test_an_instruction_that_there_is_not_is_refused(colour, observation):
    """Its word would be all zeros, the empty one; traced, it cannot be seen."""
    wrong = {**observation, "instruction": jnp.array([0, colour])}
    said = rf"observation\['instruction'\] has {colour}; the colours are 0 to 4, red"
    with pytest.raises(ValueError, match=said):
        MODEL.check_observation(wrong)
    with jax.transfer_guard("disallow"), pytest.raises(ValueError, match=said):
        MODEL.check_observation(wrong)
    with pytest.raises(ValueError, match=f"colour has {colour}"):
        instruction_embedding(jnp.array([colour]))
    words = jax.jit(instruction_embedding)(jnp.arange(5))
    assert (words.sum(axis=(1, 2)) == 2).all()


def test_a_model_comes_back_from_its_description():
    """The description in a weights file is JSON and makes an equal model."""
    described = json.loads(json.dumps(config_of(MODEL)))
    assert model_from_config(described) == MODEL
    with pytest.raises(ValueError, match="dit"):
        model_from_config({"unet": {}})


def test_an_unknown_budget_names_those_there_are():
    """There is no schedule of 99 calls."""
    with pytest.raises(ValueError, match=r"99 model calls; there are \["):
        TabletopModel(tabletop_config()).tuned(99)


@pytest.mark.slow
def test_paired_episodes_start_alike(weights):
    """The same key gives the same tables whatever the sampler, and honest outcomes."""
    params = Params(weights, MODEL)
    one, two = (
        rollout(
            params,
            static_schedule(mask),
            jax.random.key(5),
            episodes=3,
            num_inference_steps=2,
        )
        for mask in ([True, False], [True, True])
    )
    jax.tree.map(np.testing.assert_array_equal, one.start, two.start)
    assert one.path.shape == (3, 17, 2)
    np.testing.assert_array_equal(one.path[:, 0], one.start.gripper)
    np.testing.assert_array_equal(one.model_calls, [1, 1, 1])
    np.testing.assert_array_equal(two.model_calls, [2, 2, 2])
    assert np.abs(one.path - two.path).max() > 1e-4
    for outcome in (one, two):
        distance = jax.vmap(
            jax.vmap(lambda p, s: block_distances(s._replace(gripper=p)), (0, None))
        )(outcome.path[:, 1:], outcome.start)
        there = (distance[..., :2] <= TOLERANCE).any(-1)
        np.testing.assert_array_equal(outcome.success, there.any(-1))
        first = jnp.where(there.any(-1), there.argmax(-1) + 1, 17)
        np.testing.assert_array_equal(outcome.steps, first)


def test_a_deadline_is_a_whole_number_of_chunks(weights):
    """An episode cannot end inside a chunk."""
    with pytest.raises(ValueError, match="multiple of 8"):
        rollout(
            Params(weights, MODEL),
            Uncached(),
            jax.random.key(0),
            episodes=1,
            deadline=12,
        )
