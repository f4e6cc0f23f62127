"""The original's checkpoints load whole, or one error tells all that is wrong."""

from __future__ import annotations

import gc
import json
import pickle
import tracemalloc

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jax_stepcache import load_model, load_params
from jax_stepcache.checkpoints import streaming
from jax_stepcache.models.dreamzero import import_state_dict
from jax_stepcache.network.registry import open_checkpoint

from ..models.dreamzero.small import I2V, SMALL
from .original import OTHERS, PREFIX, config_json, state_dict, write_original


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return write_original(tmp_path_factory.mktemp("released") / "small")


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("config", [SMALL, I2V], ids=["ti2v", "i2v"])
def test_values_are_those_of_the_state_dict(config, tmp_path):
    """Shards, prefix and the encoders' tensors change nothing in the weights."""
    params = load_params(write_original(tmp_path / "released", config))
    assert_equal(params.weights, import_state_dict(config, state_dict(config)))
    dit = params.model.dit
    assert dit.dtype == "bfloat16"
    assert (dit.dim, dit.action_dim, dit.hidden_size, dit.window) == (
        config.dim,
        config.action_dim,
        config.hidden_size,
        config.window,
    )
    assert params.model.latent_size == (4, 4)


def test_cast_to_float32(released):
    """Weights and activations become float32, of the same values."""
    params = load_params(released, dtype="float32")
    expected = import_state_dict(SMALL, state_dict())
    expected = jax.tree.map(lambda x: x.astype(np.float32), expected)
    assert_equal(params.weights, expected)
    assert params.model.dit.dtype == "float32"


def test_cast_to_bfloat16(tmp_path):
    """A float32 checkpoint runs in float32, unless it is cast."""
    folder = write_original(tmp_path / "single", dtype=np.float32, shards=2)
    assert load_model(folder).dit.dtype == "float32"
    params = load_params(folder, dtype=jax.numpy.bfloat16)
    expected = state_dict(dtype=np.float32)["patch_embedding.bias"]
    np.testing.assert_array_equal(
        params.weights["patch_embedding"]["bias"], expected.astype(ml_dtypes.bfloat16)
    )
    assert params.model.dit.dtype == "bfloat16"


def test_other_dtypes_are_refused(released):
    """An integer dtype would destroy the weights."""
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        load_params(released, dtype="int8")


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_a_single_file(prefix, tmp_path):
    """The transformer alone, with its config.json beside it."""
    path = tmp_path / "dit.safetensors"
    save_file({prefix + name: a for name, a in state_dict().items()}, path)
    (tmp_path / "config.json").write_text(json.dumps(config_json()))
    assert_equal(load_params(path).weights, import_state_dict(SMALL, state_dict()))


def test_a_single_file_of_unknown_size(tmp_path):
    """Without config.json only the published sizes are recognised."""
    path = tmp_path / "dit.safetensors"
    save_file(state_dict(), path)
    with pytest.raises(
        ValueError, match=r"none of \['droid-14b', 'wan22-5b'\].*config"
    ):
        load_params(path)


def test_all_faults_in_one_error(tmp_path):
    """Missing, extra, misshapen and non-finite tensors, and none of the encoders'."""
    nan = np.array([[1, np.nan]] * 12).reshape(24).astype(ml_dtypes.bfloat16)
    inf = np.full((6, 24), np.inf, ml_dtypes.bfloat16)
    folder = write_original(
        tmp_path / "faulty",
        changes={
            PREFIX + "blocks.1.norm3.bias": None,
            PREFIX + "blocks.2.norm3.bias": np.zeros(24, ml_dtypes.bfloat16),
            "action_head.other.weight": np.zeros(2, ml_dtypes.bfloat16),
            PREFIX + "head.head.weight": np.zeros((5, 24), ml_dtypes.bfloat16),
            PREFIX + "patch_embedding.bias": nan,
            PREFIX + "blocks.0.modulation": inf[None],
            PREFIX + "blocks.0.norm3.weight": np.zeros(24, np.int32),
            "action_head.vae.model.conv1.weight": nan,
        },
    )
    with pytest.raises(ValueError, match="does not fit the model, 7 faults") as error:
        load_params(folder)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        "dtype: action_head.model.blocks.0.norm3.weight is I32, weights are "
        "['BF16', 'F16', 'F32', 'F64']",
        "extra: action_head.model.blocks.2.norm3.bias",
        "extra: action_head.other.weight",
        "missing: action_head.model.blocks.1.norm3.bias",
        "not finite: action_head.model.blocks.0.modulation",
        "not finite: action_head.model.patch_embedding.bias",
        "shape: action_head.model.head.head.weight is (5, 24), the model has (12, 24)",
    ]


def test_a_checkpoint_of_the_wrong_size(tmp_path):
    """Weights of another size than config.json tells."""
    folder = write_original(tmp_path / "wrong", SMALL, written=I2V)
    with pytest.raises(ValueError, match="does not fit the model") as error:
        load_params(folder)
    assert "missing: action_head.model.img_emb.proj.0.weight" in str(error.value)
    assert "shape: action_head.model.patch_embedding.weight" in str(error.value)


def test_a_shard_cut_short(tmp_path):
    """A download that broke off is named."""
    folder = write_original(tmp_path / "short")
    shard = folder / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"00002-of-00003\.safetensors is cut short"):
        load_params(folder)


def test_missing_shards_are_all_named(tmp_path):
    """A download that is not complete."""
    folder = write_original(tmp_path / "missing")
    for i in (1, 3):
        (folder / f"model-0000{i}-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"names 3 files.*00001-of.*00003-of"):
        load_params(folder)


def test_a_shard_without_what_the_index_promises(tmp_path):
    """Index and shards of different checkpoints."""
    name = PREFIX + "head.modulation"
    folder = write_original(tmp_path / "mixed", changes={name: None})
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][name] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match=rf"index: it has {name} in model-00001.*lacks"
    ):
        load_params(folder)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "no index"),
        ('{"weight_map": []}', "no index"),
        ('{"weight_map": {"a": "../secret"}}', "of its own folder"),
    ],
)
def test_a_bad_index(index, words, tmp_path):
    """What is no index, or one that points outside of its folder."""
    folder = write_original(tmp_path / "bad")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=words):
        load_params(folder)


def test_pickles_are_refused(tmp_path):
    """A folder of PyTorch's own files is never opened."""
    (tmp_path / "config.json").write_text(json.dumps(config_json()))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is a pickle"):
        load_params(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": 3}, "Did you mean 'dim'"),
        ({"qk_norm": False}, "qk_norm must be True"),
        ({"num_heads": 5}, "num_heads must divide dim"),
    ],
)
def test_a_bad_configuration(change, words, tmp_path):
    """Options that are not known or not possible, with the file that has them."""
    folder = write_original(tmp_path / "released")
    config = config_json()
    config["action_head_cfg"]["config"]["diffusion_model_cfg"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"config\.json: .*{words}"):
        load_params(folder)


def test_a_folder_of_something_else(tmp_path):
    """What is no checkpoint says what is missing."""
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"neither model\.json.*notes\.txt"):
        load_params(tmp_path)


def test_nothing_is_read_to_describe(released, monkeypatch):
    """The model comes from headers and config.json alone."""
    monkeypatch.setattr(streaming.Shards, "read", None)
    assert load_model(released).dit.dim == SMALL.dim


def test_host_memory_holds_one_tensor(tmp_path, monkeypatch):
    """While streaming, NumPy's memory stays below two tensors, far below a shard.

    Two: CPU devices may keep a tensor that needs no change where it was read, and the
    next is read beside it.
    """
    config = SMALL.__class__(**{**SMALL.__dict__, "dim": 192, "ffn_dim": 1024})
    folder = write_original(tmp_path / "large", config, dtype=np.float32, shards=2)
    checkpoint = open_checkpoint(folder)
    sizes = [np.prod(r.source_shape) * 4 for r in checkpoint.plan.values()]
    shard = min(file.stat().st_size for file in folder.glob("*.safetensors"))
    names = [n for n in checkpoint.plan if n.startswith("blocks.")]
    checkpoint.stream(names, [])  # compiles
    gc.collect()
    tracemalloc.start()
    weights = checkpoint.stream(names, [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(weights) == len(names)
    assert peak < 2 * max(sizes) < shard


def test_others_are_not_read(released, monkeypatch):
    """The encoders and the VAE are passed over, not read and thrown away."""
    read = []
    original = streaming.Shards.read

    def watched(self, names):
        for name, tensor in original(self, names):
            read.append(name)
            yield name, tensor

    monkeypatch.setattr(streaming.Shards, "read", watched)
    load_params(released)
    assert len(read) == len(set(read)) == len(state_dict())
    assert not set(read) & set(OTHERS)
