"""Released sizes have the released tensors and parameters, to the last one."""

from __future__ import annotations

import math

import jax
import pytest

from jax_stepcache import load_model
from jax_stepcache.cli.main import main
from jax_stepcache.models.wan import RELEASES, state_dict_shapes, weights_struct
from jax_stepcache.models.wan.checkpoint.names import to_diffusers, to_original

# Of one transformer: tensors and parameters, as published.
COUNTS = {
    "wan2.1-t2v-1.3b": (825, 1_418_996_800),
    "wan2.1-t2v-14b": (1095, 14_288_491_584),
    "wan2.1-i2v-14b-480p": (1303, 16_394_878_784),
    "wan2.1-i2v-14b-720p": (1303, 16_394_878_784),
    "wan2.1-flf2v-14b": (1304, 16_395_536_704),
    "wan2.2-ti2v-5b": (825, 4_999_787_712),
    "wan2.2-t2v-a14b": (1095, 14_288_491_584),
    "wan2.2-i2v-a14b": (1095, 14_288_901_184),
}


@pytest.mark.parametrize("name", RELEASES)
def test_counts(name, capsys):
    """Of either naming, of our weights, and of what `info` says; from shapes alone."""
    tensors, parameters = COUNTS[name]
    model = load_model(name)
    experts = len(model.release.experts)
    for naming in ("diffusers", "original"):
        shapes = state_dict_shapes(model.transformer, naming)
        assert len(shapes) == tensors
        assert sum(map(math.prod, shapes.values())) == parameters
    ours = [math.prod(x.shape) for x in jax.tree.leaves(weights_struct(model))]
    assert sum(ours) == experts * parameters
    assert main(["info", name, "--gpu", "h100"]) == 0
    said = capsys.readouterr().out
    assert f"{experts * parameters:,}\n" in said
    assert f"{experts * tensors:,}\n" in said
    assert f"{parameters:,}\n" in said
    assert ("parameters of each expert" in said) == (experts > 1)


@pytest.mark.parametrize("name", RELEASES)
def test_names_go_both_ways(name):
    """Each tensor of the one naming is one of the other, of the same shape."""
    config = RELEASES[name].transformer
    original = state_dict_shapes(config, "original")
    diffusers = state_dict_shapes(config, "diffusers")
    assert {to_diffusers(n): shape for n, shape in original.items()} == diffusers
    assert {to_original(n): shape for n, shape in diffusers.items()} == original
