"""The adapter: stages, labels, sizes, and what the sampler is told."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, load_model, load_params, sample
from jax_stepcache.cli.main import main
from jax_stepcache.models import dit
from jax_stepcache.models.dit import DIGITS, DiTConfig, DiTModel, init_weights
from jax_stepcache.models.dit.network.flops import count_flops
from jax_stepcache.network.tuned import TunedFile

from .small import SMALL, random_sample, random_weights, velocity

MODEL = DiTModel(SMALL)
T = jnp.array([999.0, 250.0, 0.0])
LABELS = jnp.array([0, 4, 5])


@functools.partial(jax.jit, static_argnames="cuts")
def _in_stages(weights, x, cuts):
    hidden, context = MODEL.embed(weights, x, T, LABELS)
    edges = (0, *cuts, MODEL.num_blocks)
    for start, stop in itertools.pairwise(edges):
        hidden = MODEL.blocks(weights, hidden, context, start, stop)
    return MODEL.head(weights, hidden, context)


@pytest.mark.parametrize("cuts", [(0, 3), (2,), (1, 1, 2)])
def test_stages_compose_to_the_forward(cuts):
    """Wherever the blocks are cut, the stages say what `denoise` says."""
    weights, x = random_weights(SMALL), random_sample(SMALL, 3)
    whole = velocity(MODEL, weights, x, T, LABELS)
    assert whole.shape == x.shape
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(_in_stages(weights, x, cuts), whole, atol=2e-6)


def test_there_are_no_other_blocks():
    """A span past the last block is an error, not a shorter span."""
    weights = random_weights(SMALL)
    hidden, context = MODEL.embed(weights, random_sample(SMALL, 3), T, LABELS)
    for start, stop in ((0, 4), (2, 1), (-1, 2)):
        with pytest.raises(ValueError, match="there are 3 blocks"):
            MODEL.blocks(weights, hidden, context, start, stop)


def test_a_span_of_blocks_copies_no_weights():
    """The loop reads each layer where it lies: no slice of the stack is made."""
    weights = random_weights(SMALL)
    hidden, context = MODEL.embed(weights, random_sample(SMALL, 3), T, LABELS)
    jaxpr = jax.make_jaxpr(lambda w: MODEL.blocks(w, hidden, context, 1, 3))(weights)
    outside = {equation.primitive.name for equation in jaxpr.eqns}
    assert "scan" in outside
    assert not outside & {"slice", "dynamic_slice", "gather"}


def test_modulated_is_what_the_first_block_sees():
    """Block 0's attention input: normalised, scaled and shifted by the condition."""
    weights = random_weights(SMALL)
    hidden, context = MODEL.embed(weights, random_sample(SMALL, 3), T, LABELS)
    seen = MODEL.modulated(weights, hidden, context)
    projection = weights["blocks"]["modulation"]
    said = np.asarray(jax.nn.silu(context.c)) @ projection["kernel"][0]
    shift, scale = np.split(said + projection["bias"][0], 6, axis=1)[:2]
    x = np.asarray(hidden)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    wanted = normal * (1 + scale[:, None]) + shift[:, None]
    np.testing.assert_allclose(seen, wanted, atol=1e-4)


def test_a_fresh_model_says_nothing():
    """Zero gates and a zero output: training starts from a velocity of zero."""
    fresh = jax.jit(init_weights, static_argnums=0)(SMALL, jax.random.key(0))
    assert not all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(fresh))
    said = velocity(MODEL, fresh, random_sample(SMALL, 3), T, LABELS)
    np.testing.assert_array_equal(said, 0)


def test_half_precision_activations():
    """With bfloat16 activations the velocity is float32, and near."""
    weights, x = random_weights(SMALL), random_sample(SMALL, 3)
    half = velocity(dit.with_dtype(MODEL, "bfloat16"), weights, x, T, LABELS)
    assert half.dtype == jnp.float32
    full = velocity(MODEL, weights, x, T, LABELS)
    np.testing.assert_allclose(half, full, atol=0.15, rtol=0.1)


def test_guidance_asks_without_a_label_in_the_second_half():
    """Conditional rows come first; the others have the label after the last."""
    observation = {"label": jnp.array([3, 1])}
    np.testing.assert_array_equal(MODEL.prepare(None, observation, False), [3, 1])
    np.testing.assert_array_equal(MODEL.prepare(None, observation, True), [3, 1, 5, 5])


def test_a_condition_of_other_rows_is_told():
    """Before anything is compiled, and what makes labels of both branches."""
    params = Params(random_weights(SMALL), MODEL)
    noise = random_sample(SMALL, 2)
    for labels, scale in ((jnp.arange(2), 4.0), (jnp.arange(3), 1.0)):
        with pytest.raises(ValueError, match=r"takes int32\[\d\], .*'label'"):
            sample(params, noise=noise, condition=labels, guidance_scale=scale)


def test_it_is_sampled_like_any_model():
    """By observation, with guidance, pictures in [0, 1]; a label changes the result."""
    params = Params(random_weights(SMALL), MODEL)
    run = functools.partial(sample, params, num_inference_steps=3, solver="euler")
    first = run(observation={"label": jnp.array([0, 1])})
    second = run(observation={"label": jnp.array([0, 2])})
    assert first.sample.shape == (2, 4, 4, 1)
    np.testing.assert_array_equal(first.sample[0], second.sample[0])
    assert np.abs(first.sample[1] - second.sample[1]).max() > 1e-3
    picture = MODEL.decode(first.sample)["image"]
    assert picture.dtype == jnp.float32
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    np.testing.assert_allclose(MODEL.decode(jnp.zeros((1, 4, 4, 1)))["image"], 0.5)
    assert MODEL.check_observation(MODEL.example(jax.random.key(0), 7)) == 7


def test_latents_are_left_for_a_vae():
    """Four channels are no picture."""
    latent = DiTModel(dataclasses.replace(SMALL, in_channels=4))
    assert latent.decode(jnp.ones((1, 4, 4, 4))).keys() == {"latent"}


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"label": np.array([1, 5])}, r"has 5; the model's labels are 0 to 4"),
        ({"label": np.array([-1])}, r"has -1; the model's labels are 0 to 4"),
        ({"label": np.array([1.0])}, r"has dtype float32; the model takes int32"),
        ({"label": np.array([[1]])}, r"has shape \(1, 1\); the model takes \(1,\)"),
        ({"label": np.array(3)}, "leading batch dimension"),
        ({"label": [3]}, "is a list; give an integer array"),
        ({"labels": np.array([1])}, r"is \['labels'\]; the model takes \['label'\]"),
        (np.array([1]), r"is ndarray; the model takes \['label'\]"),
    ],
)
def test_bad_labels_are_clear_errors(observation, message):
    """What was given and what is allowed, before anything is compiled."""
    with pytest.raises(ValueError, match=message):
        MODEL.check_observation(observation)


def test_a_label_that_cannot_be_checked_shows_in_the_result():
    """Inside `jax.jit` a wrong label gives NaN, not another class."""
    params = Params(random_weights(SMALL), MODEL)

    @jax.jit
    def run(label):
        options = {"num_inference_steps": 2, "solver": "euler", "guidance_scale": 1.0}
        return sample(params, observation={"label": label}, **options)

    assert not run(jnp.array([4])).stats.nonfinite
    assert run(jnp.array([9])).stats.nonfinite


def test_a_model_is_its_configuration():
    """Configurations go through JSON and come back equal, hashes included."""
    for model in (MODEL, load_model("sit-l/4"), dit.with_dtype(MODEL, "bfloat16")):
        again = dit.model_from_config(json.loads(json.dumps(dit.config_of(model))))
        assert again == model
        assert hash(again) == hash(model)
    with pytest.raises(ValueError, match=r"unknown option of DiT 'dept'.*'depth'"):
        dit.model_from_config({"dit": {"dept": 3}})
    with pytest.raises(ValueError, match="unknown DiT config"):
        dit.model_from_config({"size": {}})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"patch_size": 3}, "patch_size must divide input_size"),
        ({"num_heads": 3}, "multiple of 4 and of num_heads"),
        ({"hidden_size": 6}, "multiple of 4 and of num_heads"),
        ({"depth": 0}, "depth must be an integer >= 1"),
        ({"depth": True}, "depth must be an integer >= 1"),
        ({"mlp_ratio": 0.0}, "mlp_ratio must be positive"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
    ],
)
def test_impossible_sizes(sizes, message):
    """A size that no forward could run with names itself."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **sizes)


def test_wrong_weights_and_samples():
    """Weights of another size and samples of another shape are named."""
    weights = random_weights(SMALL)
    other = DiTModel(dataclasses.replace(SMALL, num_classes=6))
    with pytest.raises(ValueError, match=r"shape: label_embedding is \(6, 16\)"):
        other.denoise(weights, random_sample(SMALL, 3), T, LABELS)
    with pytest.raises(ValueError, match="the sample must have shape"):
        MODEL.denoise(weights, jnp.zeros((3, 4, 8, 1)), T, LABELS)


def test_published_sizes_have_names(capsys):
    """Twelve names; `info` counts them, and weights must be given."""
    assert len(dit.CONFIGS) == 12
    xl = load_model("sit-xl/2")
    assert xl.config == DiTConfig()
    assert dit.CONFIGS["sit-b/8"].tokens == 16
    with pytest.raises(ValueError, match="no weights are bundled for 'sit-xl/2'"):
        load_params("sit-xl/2")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'sit-xl/2'"):
        load_params("sit-xl2")
    with pytest.raises(
        FileNotFoundError, match=r"\['clip-vit-h-14', .*'dit', 'droid-14b'"
    ):
        load_params("nothing-like-it")
    with pytest.raises(ValueError, match="unknown DiT configuration"):
        dit.named_model("sit-xxl/2")

    assert main(["info", "sit-xl/2"]) == 0
    assert "674,834,720" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "published"),
    [("sit-s/2", 6.06), ("sit-b/4", 5.56), ("sit-l/2", 80.7), ("sit-xl/2", 118.6)],
)
def test_flops_are_those_published(name, published):
    """Table 4 of Peebles & Xie: Gflops of a forward, a product and a sum as one."""
    counted = count_flops(dit.CONFIGS[name]).call / 2e9
    np.testing.assert_allclose(counted, published, rtol=0.01)


def test_tuned_schedules_are_of_the_bundled_model(tmp_path, monkeypatch):
    """Found for the digits; other sizes are told what to use instead."""
    found = {
        "num_steps": 16,
        "schedules": {"4": {"steps": [0, 4, 8, 12], "forecast": {"name": "linear"}}},
    }
    path = tmp_path / "tuned.json"
    monkeypatch.setattr(DiTModel, "tuned_file", TunedFile(path))
    digits = DiTModel(DIGITS)
    with pytest.raises(ValueError, match="no tuned schedule of 4 model calls"):
        digits.tuned(4)
    path.write_text(json.dumps(found))
    assert digits.tuned(4).steps == (0, 4, 8, 12)
    assert dit.with_dtype(digits, "bfloat16").tuned(4).num_steps == 16
    with pytest.raises(ValueError, match=r"of 7 model calls; there are \[4\]"):
        digits.tuned(7)
    with pytest.raises(ValueError, match="steps_mask"):
        MODEL.tuned(4)
