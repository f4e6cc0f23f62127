"""Checkpoints of the original: its numbers, its names, its sizes."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jax_stepcache import load_params
from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models.dit import (
    CONFIGS,
    DiTConfig,
    DiTModel,
    import_state_dict,
    state_dict_shapes,
    weight_shapes,
)
from jax_stepcache.models.dit.network.positions import position_embedding

from ..small import SMALL, velocity

DATA = Path(__file__).parents[3] / "data" / "dit"
# Of a width whose heads are known, with one block.
NARROW = dataclasses.replace(
    CONFIGS["sit-s/8"], input_size=16, depth=1, num_classes=3, mlp_ratio=0.5
)


def _state_dict(config, dtype=np.float32):
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, np.float32).astype(dtype)
        for name, shape in state_dict_shapes(config).items()
    }
    positions = position_embedding(config.grid, config.hidden_size)
    return tensors | {"pos_embed": positions[None].astype(dtype)}


def _channels_last(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("case", ["patch2", "patch4"])
def test_outputs_are_those_of_the_original(case):
    """Same weights, same inputs: the PyTorch network's numbers within 1e-4."""
    recorded = np.load(DATA / f"{case}.npz")
    config = DiTConfig(**json.loads(str(recorded["__config__"])))
    tensors = {
        name.removeprefix("weights/"): recorded[name].astype(np.float32)
        for name in recorded
        if name.startswith("weights/")
    }
    weights = import_state_dict(config, tensors)
    x, t, y = _channels_last(recorded["in/x"]), recorded["in/t"], recorded["in/y"]
    wanted = _channels_last(recorded["out"])
    # The library's velocity goes from data to noise, and its time the other way.
    said = velocity(DiTModel(config), weights, x, 1000 * (1 - t), y)
    np.testing.assert_allclose(said, -wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sit-xl/2", 675_129_632), ("sit-s/8", 33_148_160)],
)
def test_published_sizes_are_accounted_for(name, parameters):
    """Every tensor has its place and its shape there; the count is the original's,
    which has the fixed position embedding among its parameters."""
    config = CONFIGS[name]
    shapes = state_dict_shapes(config)
    assert len(shapes) == 12 + 10 * config.depth
    assert sum(math.prod(shape) for shape in shapes.values()) == parameters
    positions = math.prod(shapes.pop("pos_embed"))
    tensors = {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in shapes.items()}
    made = jax.eval_shape(functools.partial(import_state_dict, config), tensors)
    assert made == weight_shapes(config)
    ours = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))
    assert ours == parameters - positions


def test_all_faults_are_named_at_once():
    """Missing, extra and misshapen tensors, and positions of another kind."""
    tensors = _state_dict(SMALL)
    del tensors["blocks.1.attn.proj.bias"]
    tensors["blocks.3.attn.proj.bias"] = np.zeros(16, np.float32)
    tensors["x_embedder.proj.weight"] = np.zeros((16, 4), np.float32)
    tensors["pos_embed"] = tensors["pos_embed"][:, ::-1]
    with pytest.raises(ValueError, match="4 faults") as error:
        import_state_dict(SMALL, tensors)
    for fault in (
        "missing: blocks.1.attn.proj.bias",
        "extra: blocks.3.attn.proj.bias",
        "shape: x_embedder.proj.weight is (16, 4), the model has (16, 1, 2, 2)",
        "positions: pos_embed differs",
    ):
        assert fault in str(error.value)
    tensors = _state_dict(SMALL) | {"pos_embed": np.zeros((1, 9, 16), np.float32)}
    with pytest.raises(ValueError, match=r"shape: pos_embed is \(1, 9, 16\)"):
        import_state_dict(SMALL, tensors)


def test_a_file_tells_its_sizes(tmp_path):
    """From shapes alone: the model, its activations, and the weights of an import."""
    tensors = _state_dict(NARROW, jax.numpy.dtype("bfloat16"))
    save_file(tensors, tmp_path / "sit.safetensors")
    params = load_params(tmp_path / "sit.safetensors")
    assert params.model == DiTModel(dataclasses.replace(NARROW, dtype="bfloat16"))
    imported = flat(import_state_dict(NARROW, tensors))
    for name, leaf in flat(params.weights).items():
        assert leaf.dtype == "bfloat16"
        np.testing.assert_array_equal(leaf, imported[name])


def test_files_that_do_not_fit(tmp_path):
    """What a file lacks is listed; a width of unknown heads and other positions are
    errors, and a file of something else is none of ours."""
    path = tmp_path / "sit.safetensors"
    tensors = _state_dict(NARROW)

    def saved(**changed):
        merged = tensors | {n.replace("_0_", ".0."): x for n, x in changed.items()}
        save_file({n: x for n, x in merged.items() if x is not None}, path)
        return path

    with pytest.raises(ValueError, match=r"missing: blocks\.0\.mlp\.fc2\.bias"):
        load_params(saved(**{"blocks.0.mlp.fc2.bias": None}))
    with pytest.raises(ValueError, match="sizes cannot be told: pos_embed"):
        load_params(saved(pos_embed=None))
    with pytest.raises(ValueError, match="positions: pos_embed differs"):
        load_params(saved(pos_embed=np.zeros((1, 4, 384), np.float32)))
    with pytest.raises(ValueError, match=r"shape: pos_embed is \(1, 5, 384\)"):
        load_params(saved(pos_embed=np.zeros((1, 5, 384), np.float32)))
    save_file(_state_dict(SMALL), path)
    with pytest.raises(ValueError, match=r"width of 16.*number of heads.*\[384, 768"):
        load_params(path)
    save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="does not say which model it holds"):
        load_params(path)
