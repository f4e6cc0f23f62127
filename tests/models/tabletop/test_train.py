"""Training: what is learned, what a checkpoint holds, what is exported."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_stepcache import load_params
from jax_stepcache.models.dreamzero import init_weights
from jax_stepcache.models.tabletop import TabletopModel, tabletop_config, weights_struct
from jax_stepcache.models.tabletop.train import (
    Settings,
    export,
    make_optimizer,
    train,
)

MODEL = TabletopModel(tabletop_config(dim=32, num_layers=1))
SETTINGS = Settings(steps=4, batch=4, blocks=2, warmup=1)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(SETTINGS, MODEL, tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_a_resumed_run_gets_the_same_numbers(uninterrupted, tmp_path):
    """Interrupted after two of four steps and resumed: weights, averages and the
    optimiser's state are those of a run that was not interrupted, bit for bit."""
    half = train(SETTINGS, MODEL, tmp_path, stop_after=2)
    assert int(half.step) == 2
    resumed = train(SETTINGS, MODEL, tmp_path, resume=True)
    assert int(resumed.step) == int(uninterrupted.step) == 4
    jax.tree.map(np.testing.assert_array_equal, resumed, uninterrupted)


@pytest.mark.slow
def test_training_moves_every_weight(uninterrupted):
    """No parameter is cut off from the loss."""
    fresh = init_weights(MODEL.dit, jax.random.key(SETTINGS.seed))
    moved = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), uninterrupted.trained, fresh
    )
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(moved)
        if not leaf
    ]
    assert not still


@pytest.mark.slow
def test_a_folder_with_checkpoints_is_not_overwritten(tmp_path):
    """A new run in an old folder, and a resumed one without, are both refused."""
    with pytest.raises(ValueError, match="leave out --resume"):
        train(SETTINGS, MODEL, tmp_path, resume=True)
    train(SETTINGS, MODEL, tmp_path, stop_after=1)
    with pytest.raises(ValueError, match="add --resume"):
        train(SETTINGS, MODEL, tmp_path)


@pytest.mark.slow
def test_each_layer_is_orthogonalised_by_itself():
    """Muon's update of a stacked matrix has orthogonal rows in every layer, however
    different the layers' gradients are."""
    shapes = weights_struct(TabletopModel(tabletop_config(dim=32, num_layers=2)))
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    gradients = jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal(x.shape, np.float32)), weights
    )
    blocks = dict(gradients["blocks"])
    gradients["blocks"] = jax.tree.map(
        lambda x: x.at[1].multiply(1e-3) if x.ndim == 3 else x, blocks
    )
    optimizer = make_optimizer(Settings(warmup=0))
    state = jax.jit(optimizer.init)(weights)
    updates, _ = jax.jit(optimizer.update)(gradients, state, weights)
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(updates["blocks"])
        if getattr(path[-1], "key", None) == "kernel"
    ]
    assert kernels
    for kernel in kernels:
        singular = np.linalg.svd(np.asarray(kernel), compute_uv=False)
        assert singular.shape[0] == 2
        # Five Newton-Schulz iterations leave singular values around one.
        assert (singular[:, 0] / np.median(singular, axis=1) < 2).all()
        np.testing.assert_allclose(singular[0].mean(), singular[1].mean(), rtol=0.1)
    assert optax.tree.norm(updates["head"]) > 0


@pytest.mark.slow
def test_exported_weights_load_and_say_how_they_were_made(uninterrupted, tmp_path):
    """The file holds the averaged weights; its account the command and the seed."""
    path = tmp_path / "weights.safetensors"
    export(uninterrupted, SETTINGS, MODEL, path, "python -m train")
    params = load_params(path)
    assert params.model == MODEL
    jax.tree.map(np.testing.assert_array_equal, params.weights, uninterrupted.averaged)
    account = json.loads(path.with_suffix(".json").read_text())
    assert account["command"] == "python -m train"
    assert account["settings"]["seed"] == SETTINGS.seed
    assert account["steps_taken"] == 4
    assert account.keys() >= {"config", "commit"}
