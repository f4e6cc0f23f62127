"""Others' checkpoints of an image encoder load whole, or one error tells all faults."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jax_stepcache import load_model, load_params, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.clip_vision import (
    CONFIGS,
    CLIPVisionModel,
    import_state_dict,
    weight_shapes,
)

from ...checkpoints.original import config_json, write_original
from ..umt5.small import write
from .small import SMALL, of_transformers, options_of, tensors_of

HEADS = {"num_heads": SMALL.num_heads}


def assert_weights(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("prefix", ["", "model.", "action_head.image_encoder.model."])
def test_original_names(prefix, tmp_path):
    """With any prefix, and with the text's half, as Wan releases it."""
    tensors = tensors_of(SMALL, ml_dtypes.bfloat16)
    named = {prefix + name.removeprefix("model."): x for name, x in tensors.items()}
    if not prefix.startswith("action_head."):
        named[f"{prefix}textual.head.0.weight"] = np.zeros(3, np.float32)
    path = write(tmp_path / "image.safetensors", named, HEADS)
    params = load_params(path, part="image_encoder")
    assert_weights(params.weights, import_state_dict(SMALL, tensors))
    assert params.model == CLIPVisionModel(replace(SMALL, dtype="bfloat16"))


def test_folders_of_transformers(tmp_path):
    """Its names; three maps become one array; a whole CLIP's text half is no fault."""
    tensors = tensors_of(SMALL)
    theirs = of_transformers(SMALL, tensors)
    options = options_of(SMALL)
    folder = tmp_path / "image_encoder"
    whole = theirs | {"text_model.final_layer_norm.bias": np.zeros(2, np.float32)}
    for given, told in ((theirs, options), (whole, {"vision_config": options})):
        write(folder / "model.safetensors", given, told)
        for params in (load_params(folder), load_params(tmp_path, part=folder.name)):
            assert params.model == CLIPVisionModel(SMALL)
            assert_weights(params.weights, import_state_dict(SMALL, tensors))


@pytest.mark.slow
def test_thirds_of_a_layer_on_a_mesh(tmp_path):
    """What is written in parts lies where rules say."""
    write(
        tmp_path / "model.safetensors",
        of_transformers(SMALL, tensors_of(SMALL)),
        options_of(SMALL),
    )
    mesh = jax.make_mesh((1,), ("x",))
    params = load_params(tmp_path, mesh=mesh, rules="tensor")
    kernel = params.weights["blocks"]["attn"]["qkv"]["kernel"]
    assert kernel.sharding.spec == PartitionSpec(None, None, None, "x")
    assert_weights(params.weights, import_state_dict(SMALL, tensors_of(SMALL)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "quick_gelu"}, "hidden_act must be 'gelu'"),
        ({"num_attention_heads": 3}, "num_heads must divide dim"),
        ({"num_hidden_layers": 1}, "num_layers must be at least 2"),
        ({"image_size": 13}, "patch_size must divide image_size"),
    ],
)
def test_options_that_cannot_be(changes, words, tmp_path):
    """Named, with the folder."""
    theirs = of_transformers(SMALL, tensors_of(SMALL))
    write(tmp_path / "model.safetensors", theirs, options_of(SMALL) | changes)
    with pytest.raises(ValueError, match=f"sizes cannot be told: {words}"):
        load_params(tmp_path)


def test_shapes_do_not_tell_heads(tmp_path):
    """But for a released width; DreamZero's configuration may say them."""
    tensors = tensors_of(SMALL)
    path = write(tmp_path / "image.safetensors", tensors)
    with pytest.raises(ValueError, match=r"of 16 channels, put a config\.json"):
        load_params(path)
    named = {f"action_head.image_encoder.{name}": x for name, x in tensors.items()}
    folder = write_original(tmp_path / "released", changes=named)
    told = config_json()
    told["action_head_cfg"]["config"]["image_encoder_cfg"] = {"_target_": "x", **HEADS}
    (folder / "config.json").write_text(json.dumps(told))
    assert load_model(folder, part="image_encoder").config.num_heads == 4


def test_all_faults_are_told_at_once(tmp_path):
    """Missing, extra, misshapen; what features have no use of may be absent."""
    tensors = tensors_of(SMALL)
    del tensors["model.visual.head"], tensors["model.visual.post_norm.bias"]
    tensors["model.visual.pre_norm.weight"] = np.zeros(3, np.float32)
    tensors["model.visual.surplus"] = np.zeros(3, np.float32)
    del tensors["model.visual.transformer.1.attn.to_qkv.bias"]
    path = write(tmp_path / "image.safetensors", tensors, HEADS)
    with pytest.raises(ValueError, match="3 faults") as told:
        load_params(path)
    for words in ("extra: model.visual.surplus", "missing: ", "shape: "):
        assert words in str(told.value)


@pytest.mark.slow
def test_to_orbax_and_back(tmp_path):
    """Weights, sizes and dtype; by itself, or in a folder with others."""
    params = load_params(
        write(tmp_path / "image.safetensors", tensors_of(SMALL), HEADS),
        dtype="bfloat16",
    )
    save_params(tmp_path / "robot" / "image_encoder", params)
    for back in (
        load_params(tmp_path / "robot" / "image_encoder"),
        load_params(tmp_path / "robot", part="image_encoder"),
    ):
        assert back.model == params.model
        assert_weights(back.weights, params.weights)


def test_the_released_size_has_a_name(capsys):
    """For `load_model` and the command; weights come from a path."""
    assert load_model("clip-vit-h-14") == CLIPVisionModel(CONFIGS["clip-vit-h-14"])
    assert main(["info", "clip-vit-h-14"]) == 0
    printed = capsys.readouterr().out
    assert all(count in printed for count in ("632,076,801", " 393\n", " 257\n"))
    with pytest.raises(ValueError, match="no weights are bundled"):
        load_params("clip-vit-h-14")


def test_weights_have_no_part_without_use():
    """What is held is what is run."""
    blocks = weight_shapes(SMALL)["blocks"]
    assert {x.shape[0] for x in jax.tree.leaves(blocks)} == {SMALL.num_layers - 1}
