"""Training: what is learned, what a checkpoint holds, what is exported."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import load_params
from jax_stepcache.models.dit import DiTModel, init_weights
from jax_stepcache.models.dit.train import Settings, export, train
from jax_stepcache.models.dit.training.digits import Digits
from jax_stepcache.models.dit.training.loss import FlowMatching

from .small import SMALL, velocity

MODEL = DiTModel(SMALL)
SETTINGS = Settings(steps=20, batch=8, warmup=2, learning_rate=0.01, weight_decay=0.0)


def _pictures():
    """Four that are the same everywhere, one for each of four labels."""
    shades = np.array([-1.0, -0.3, 0.3, 1.0], np.float32)
    images = np.broadcast_to(shades[:, None, None, None], (4, 4, 4, 1))
    return Digits(images.copy(), np.arange(4, dtype=np.int32))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(SETTINGS, MODEL, _pictures(), tmp_path_factory.mktemp("run"))


def test_training_lowers_the_loss(trained):
    """A few steps on the same pictures, and noise that they were not shown."""
    loss = jax.jit(FlowMatching(MODEL, 256))
    digits = jax.tree.map(jnp.asarray, _pictures())
    # A fresh model says nothing, so its loss is the velocity's mean square.
    before = 1.0 + np.square(_pictures().images).mean()
    after, parts = loss(trained.trained, digits, None, jax.random.key(9))
    assert after == parts["velocity"]
    assert float(after) < 0.8 * before


def test_training_moves_every_weight(trained):
    """No parameter is cut off from the loss: without decay, only the embedding of a
    label that no picture has stays where it was."""
    fresh = jax.jit(init_weights, static_argnums=0)(SMALL, jax.random.key(0))
    moved = jax.tree.map(
        lambda a, b: np.asarray(a) != np.asarray(b), trained.trained, fresh
    )
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(moved)
        if not leaf.any()
    ]
    assert not still
    labels = moved["label_embedding"].any(axis=1)
    np.testing.assert_array_equal(labels, [True, True, True, True, False, True])


def test_the_loss_is_of_the_librarys_velocity():
    """Noise minus data at x = (1 - sigma) * data + sigma * noise and t = 1000 * sigma:
    a model that knows the one picture there is would have no loss."""
    digits = Digits(np.full((1, 4, 4, 1), 0.5, np.float32), np.zeros(1, np.int32))

    class Knowing:
        config = SMALL

        def denoise(self, weights, x, t, labels):
            return (x - 0.5) / (t / 1000)[:, None, None, None]

    loss, _ = jax.jit(FlowMatching(Knowing(), 16))(
        None, jax.tree.map(jnp.asarray, digits), None, jax.random.key(0)
    )
    np.testing.assert_allclose(loss, 0, atol=1e-6)


def test_exported_weights_load_and_say_how_they_were_made(trained, tmp_path):
    """The file holds the averaged weights; its account the command and the seed."""
    path = tmp_path / "weights.safetensors"
    export(trained, SETTINGS, MODEL, path, "python -m train")
    params = load_params(path)
    assert params.model == MODEL
    jax.tree.map(np.testing.assert_array_equal, params.weights, trained.averaged)
    x = jnp.ones((1, 4, 4, 1))
    said = velocity(MODEL, params.weights, x, jnp.array([500.0]), jnp.array([1]))
    assert jnp.isfinite(said).all()
    account = json.loads(path.with_suffix(".json").read_text())
    assert account["command"] == "python -m train"
    assert account["settings"]["seed"] == SETTINGS.seed
    assert account["steps_taken"] == 20
