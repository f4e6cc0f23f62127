"""Checkpoints of the original are read whole or not at all."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import (
    CONFIGS,
    import_state_dict,
    state_dict_shapes,
    weight_shapes,
)

from ..small import I2V, SMALL


def _state_dict(config):
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape, np.float32)
        for name, shape in state_dict_shapes(config).items()
    }


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [
        (CONFIGS["droid-14b"].dit, 1317, 16_484_292_448),
        (CONFIGS["wan22-5b"].dit, 997, 5_606_692_832),
    ],
    ids=["droid-14b", "wan22-5b"],
)
def test_published_sizes_are_accounted_for(config, tensors, parameters):
    """Every tensor of the published checkpoints has its place, and no other."""
    shapes = state_dict_shapes(config)
    assert len(shapes) == tensors
    assert sum(math.prod(shape) for shape in shapes.values()) == parameters
    ours = jax.tree.leaves(weight_shapes(config))
    assert sum(math.prod(leaf.shape) for leaf in ours) == parameters


@pytest.mark.parametrize("config", [SMALL, I2V], ids=["ti2v", "i2v"])
def test_import_fills_every_weight(config):
    """The structure is the model's; matrices are turned, blocks are stacked."""
    tensors = _state_dict(config)
    weights = import_state_dict(config, tensors)
    expected = weight_shapes(config)
    assert jax.tree.structure(weights) == jax.tree.structure(expected)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: a.shape == b.shape, weights, expected)
    )
    np.testing.assert_array_equal(
        weights["blocks"]["ffn"]["layer1"]["kernel"][1],
        tensors["blocks.1.ffn.0.weight"].T,
    )
    np.testing.assert_array_equal(
        weights["action_encoder"]["W2"]["kernel"], tensors["action_encoder.W2.W"][0]
    )


def test_all_faults_are_named_at_once():
    tensors = _state_dict(SMALL)
    del tensors["blocks.1.norm3.bias"], tensors["head.modulation"]
    tensors["img_emb.proj.0.weight"] = np.zeros(6, np.float32)
    tensors["patch_embedding.weight"] = np.zeros((24, 3, 2, 2), np.float32)
    with pytest.raises(ValueError, match="4 faults") as error:
        import_state_dict(SMALL, tensors)
    for fault in (
        "missing blocks.1.norm3.bias",
        "missing head.modulation",
        "unknown img_emb.proj.0.weight",
        "patch_embedding.weight has shape (24, 3, 2, 2), not (24, 3, 1, 2, 2)",
    ):
        assert fault in str(error.value)


def test_dtype_of_the_checkpoint_is_kept():
    """Casting is the caller's decision."""
    tensors = {n: a.astype(np.float16) for n, a in _state_dict(SMALL).items()}
    weights = import_state_dict(SMALL, tensors)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(weights)} == {"float16"}
