import json

import jax
import numpy as np
import pytest

from jax_stepcache import load_model, load_params, sample
from jax_stepcache.checkpoints.weights import save_weights
from jax_stepcache.network import registry

from .. import small_model
from ..small_model import SmallModel, small_noise, small_params


@pytest.fixture(autouse=True)
def _small_model_is_registered(monkeypatch):
    monkeypatch.setattr(registry, "_MODULES", {"small": small_model.__name__})


def save(path, weights=None, **metadata):
    metadata = {"model": "small", "config": json.dumps({"name": "mine"})} | metadata
    weights = small_params().weights if weights is None else weights
    save_weights(path, weights, {k: v for k, v in metadata.items() if v is not None})
    return path


def test_a_file_names_its_model(tmp_path):
    """Weights, model and configuration come from one file, ready to sample."""
    params = load_params(save(tmp_path / "small.safetensors"))
    assert params.model == SmallModel(name="mine")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))
    for ours, saved in zip(
        jax.tree.leaves(params), jax.tree.leaves(small_params()), strict=True
    ):
        np.testing.assert_array_equal(ours, saved)
    result = sample(params, noise=small_noise(), cache="step_cache", guidance_scale=1)
    assert 2 <= result.stats.model_calls < 16


def test_unknown_models():
    """Neither a model nor a file: the nearest model is named."""
    with pytest.raises(
        FileNotFoundError,
        match=r"no file or folder 'smal'.*no model of that name.*'small'",
    ):
        load_params("smal")


def test_configurations_have_no_weights(monkeypatch):
    """A published size is a model; its weights are somewhere else."""
    monkeypatch.undo()
    with pytest.raises(ValueError, match="no weights are bundled for 'droid-14b'"):
        load_params("droid-14b")
    with pytest.raises(ValueError, match="no weights are bundled for 'dreamzero'"):
        load_model("dreamzero")
    assert load_model("wan22-5b").latent_size == (10, 20)
    assert load_model("tabletop") == load_params("tabletop").model


def test_dtype(tmp_path):
    """Weights are cast, also of a model that has no say in its activations."""
    params = load_params(save(tmp_path / "small.safetensors"), dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}


@pytest.mark.parametrize(
    "metadata", [{"model": None}, {"model": "x"}, {"config": None}]
)
def test_a_file_that_names_no_model(tmp_path, metadata):
    """Someone else's safetensors file does not say what it is for."""
    path = save(tmp_path / "foreign.safetensors", **metadata)
    with pytest.raises(ValueError, match="does not say which model it holds"):
        load_params(path)


def test_a_file_that_does_not_fit_its_model(tmp_path):
    """Every tensor that is wrong is listed."""
    weights = {"in": np.full((6, 4), np.nan, np.float32), "out": np.zeros((4, 5))}
    path = save(tmp_path / "wrong.safetensors", weights)
    with pytest.raises(ValueError, match=r"not finite: in\n.*shape: out is \(4, 5\)"):
        load_params(path)


def test_a_file_cut_short(tmp_path):
    """A download that broke off is an error, not a model."""
    path = save(tmp_path / "short.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut short"):
        load_params(path)
