"""Name maps of any model: every weight has a source, blocks have one for each layer."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.models.checkpoints.name_map import (
    assembled,
    recipes,
    source_shapes,
)
from jax_stepcache.models.checkpoints.tensors import linear, only, patches

STRUCTS = {
    "blocks": {
        "proj": {
            "kernel": jax.ShapeDtypeStruct((2, 3, 4), np.float32),
            "bias": jax.ShapeDtypeStruct((2, 4), np.float32),
        }
    },
    "patch": jax.ShapeDtypeStruct((8, 5), np.float32),
    "modulation": jax.ShapeDtypeStruct((6, 5), np.float32),
}
TABLE = {
    "blocks": {"proj": linear("layers.{layer}.o")},
    "patch": patches("patch.weight", (2, 2, 2)),
    "modulation": only("mod"),
}


def test_shapes_are_those_of_the_checkpoint():
    """Matrices as (out, in), convolutions whole, an axis for the batch, a prefix."""
    shapes = source_shapes(recipes(TABLE, STRUCTS, "model."))
    assert shapes == {
        "model.layers.0.o.weight": (4, 3),
        "model.layers.1.o.weight": (4, 3),
        "model.layers.0.o.bias": (4,),
        "model.layers.1.o.bias": (4,),
        "model.patch.weight": (5, 2, 2, 2),
        "model.mod": (1, 6, 5),
    }


def test_weights_are_turned_and_stacked():
    """On the host and inside a trace alike, in the dtype that was given."""
    plan, rng = recipes(TABLE, STRUCTS), np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float16)
        for name, shape in source_shapes(plan).items()
    }
    made = assembled(plan, tensors)
    np.testing.assert_array_equal(
        made["blocks"]["proj"]["kernel"][1], tensors["layers.1.o.weight"].T
    )
    np.testing.assert_array_equal(
        made["patch"], tensors["patch.weight"].reshape(5, 8).T
    )
    np.testing.assert_array_equal(made["modulation"], tensors["mod"][0])
    traced = jax.eval_shape(lambda given: assembled(plan, given), tensors)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), made)
    assert traced == shapes
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype(np.float16)}


def test_a_name_map_is_whole():
    """A weight without a source, or a source without a weight, is told by name."""
    without = {name: TABLE[name] for name in ("blocks", "patch")}
    with pytest.raises(ValueError, match=r"differ in \['modulation'\]"):
        recipes(without, STRUCTS)
    with pytest.raises(ValueError, match=r"differ in \['extra'\]"):
        recipes(TABLE | {"extra": only("x")}, STRUCTS)
