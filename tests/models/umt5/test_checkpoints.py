"""Others' checkpoints of a text encoder load whole, or one error tells all faults."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest

from jax_stepcache import load_model, load_params, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.umt5 import CONFIGS, UMT5Model, encode, import_state_dict
from jax_stepcache.models.umt5.checkpoint.name_map import TRANSFORMERS_EMBEDDINGS

from ...checkpoints.original import write_original
from .small import SMALL, UNTOLD, options_of, tensors_of, write

SHARED, EMBEDDED = TRANSFORMERS_EMBEDDINGS


def assert_weights(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("prefix", ["", "action_head.text_encoder."])
def test_original_names(prefix, tmp_path):
    """With or without DreamZero's prefix; sizes and dtype are those of the tensors."""
    tensors = tensors_of(SMALL, dtype=ml_dtypes.bfloat16)
    path = write(tmp_path / "text.safetensors", tensors, prefix=prefix)
    params = load_params(path)
    assert params.model == UMT5Model(replace(SMALL, dtype="bfloat16", **UNTOLD))
    assert_weights(params.weights, import_state_dict(SMALL, tensors))
    wide = load_params(path, dtype="float32")
    assert wide.model.config.dtype == "float32"
    assert {x.dtype for x in jax.tree.leaves(wide.weights)} == {np.dtype("float32")}


@pytest.mark.parametrize("embedding", TRANSFORMERS_EMBEDDINGS)
def test_folders_of_transformers(embedding, tmp_path):
    """Either name of the token embedding, or both, which are one."""
    tensors = tensors_of(SMALL, embedding)
    wanted = import_state_dict(SMALL, tensors)
    tensors |= {SHARED: tensors[embedding]}
    folder = tmp_path / "pipeline" / "text_encoder"
    write(folder / "model.safetensors", tensors, options_of(SMALL))
    for params in (load_params(folder), load_params(folder.parent, part=folder.name)):
        assert params.model == UMT5Model(SMALL)
        assert_weights(params.weights, wanted)


def test_shards_of_transformers(tmp_path):
    """An index and its files."""
    tensors = tensors_of(SMALL, SHARED)
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {name: files[i % 2] for i, name in enumerate(tensors)}
    for file in files:
        of = {n: x for n, x in tensors.items() if index[n] == file}
        write(tmp_path / file, of, options_of(SMALL))
    where = tmp_path / "model.safetensors.index.json"
    where.write_text(json.dumps({"weight_map": index}))
    weights = load_params(tmp_path).weights
    assert_weights(weights, import_state_dict(SMALL, tensors))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"feed_forward_proj": "relu"}, "feed_forward_proj must be 'gated-gelu'"),
        ({"vocab_size": 0}, "vocab must be an integer >= 1"),
        ({"relative_attention_num_buckets": 3}, "num_buckets must be at least 4"),
        ({"relative_attention_max_distance": 4}, "max_dist must be more than"),
    ],
)
def test_options_that_cannot_be(changes, words, tmp_path):
    """Named, with the file."""
    options = options_of(SMALL) | changes
    write(tmp_path / "model.safetensors", tensors_of(SMALL, SHARED), options)
    with pytest.raises(ValueError, match=rf"config\.json, which.*{words}"):
        load_params(tmp_path)


def test_sizes_need_a_configuration(tmp_path):
    """Under transformers' names, of which the first that lacks is named."""
    write(tmp_path / "model.safetensors", tensors_of(SMALL, SHARED))
    with pytest.raises(ValueError, match=r"config\.json.*: no 'vocab_size'"):
        load_params(tmp_path)


def test_all_faults_are_told_at_once(tmp_path):
    """Missing, extra, misshapen, not finite; alone and beside other networks."""
    tensors = tensors_of(SMALL)
    tensors["blocks.1.attn.q.bias"] = np.zeros(24, np.float32)
    del tensors["blocks.2.norm1.weight"]
    tensors["norm.weight"] = np.zeros(7, np.float32)
    tensors["blocks.0.norm2.weight"][3] = np.nan
    alone = write(tmp_path / "text.safetensors", tensors)
    named = {f"action_head.text_encoder.{name}": x for name, x in tensors.items()}
    released = write_original(tmp_path / "released", changes=named)
    for path in (alone, released):
        with pytest.raises(ValueError, match="4 faults") as told:
            load_params(path, part="text_encoder")
        for words in (
            r"extra: .*blocks\.1\.attn\.q\.bias",
            r"missing: .*blocks\.2\.norm1\.weight",
            r"shape: .*norm\.weight is \(7,\)",
            r"not finite: .*blocks\.0\.norm2\.weight",
        ):
            assert re.search(words, str(told.value))


@pytest.mark.slow
def test_out_of_a_folder_of_dreamzero_to_orbax_and_back(tmp_path):
    """Loaded, saved and converted; what it says of a prompt is the same."""
    tensors = tensors_of(SMALL, dtype=ml_dtypes.bfloat16)
    named = {f"action_head.text_encoder.{name}": x for name, x in tensors.items()}
    folder = write_original(tmp_path / "released", changes=named)
    params = load_params(folder, part="text_encoder")
    assert load_params(folder).model.name == "dreamzero"
    save_params(tmp_path / "saved", params)
    command = ["convert", str(folder), str(tmp_path / "converted")]
    assert main([*command, "--part", "text_encoder"]) == 0
    ids, mask = np.arange(8)[None], np.ones((1, 8), int)
    wanted = encode(params.model.config, params.weights, ids, mask)
    for again in ("saved", "converted"):
        back = load_params(tmp_path / again)
        assert back.model == params.model
        assert_weights(back.weights, params.weights)
        found = encode(back.model.config, back.weights, ids, mask)
        np.testing.assert_array_equal(found, wanted)


def test_pickles_are_refused(tmp_path):
    """The released file; the message says what to do, and where to put what is made."""
    file = tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"
    file.write_bytes(pickle.dumps({}))
    for path in (file, tmp_path):
        with pytest.raises(ValueError, match=r"is a pickle.*save_file"):
            load_params(path, part="text_encoder")


def test_a_folder_of_t5(tmp_path):
    """Its blocks share one table of positions, of which each has a copy."""
    options = options_of(SMALL) | {"model_type": "t5"}
    tensors = tensors_of(SMALL, SHARED)
    first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    tensors = {
        name: x
        for name, x in tensors.items()
        if "relative_attention_bias" not in name or name == first
    }
    write(tmp_path / "model.safetensors", tensors, options)
    params = load_params(tmp_path)
    assert params.model.config.one_table
    for table in params.weights["blocks"]["positions"]:
        np.testing.assert_array_equal(table, tensors[first])


def test_the_released_size_has_a_name(capsys):
    """For `load_model` and the command; weights come from a path."""
    assert load_model("umt5-xxl") == UMT5Model(CONFIGS["umt5-xxl"])
    assert main(["info", "umt5-xxl"]) == 0
    printed = capsys.readouterr().out
    assert all(count in printed for count in ("5,680,910,336", " 242\n", "11.4 GB"))
    with pytest.raises(ValueError, match="no weights are bundled"):
        load_params("umt5-xxl")
