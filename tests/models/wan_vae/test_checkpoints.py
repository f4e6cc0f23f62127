"""Others' checkpoints of a VAE load whole, or one error tells all that is wrong."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jax_stepcache import load_model, load_params, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.wan_vae import (
    CONFIGS,
    WanVAEConfig,
    WanVAEModel,
    encode,
    import_state_dict,
    open_part,
    state_dict_shapes,
)
from jax_stepcache.models.wan_vae.checkpoint.sizes import config_of_tensors

from ...checkpoints.original import write_original
from .small import KINDS, OF_21, OF_22, assert_same, video_of

# What the files do not say is not asked of them.
PLAIN = {"latents_mean": (), "latents_std": ()}


def tensors_of(config, naming="original", dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in state_dict_shapes(config, naming).items()
    }


def write(path, tensors, prefix=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: x for name, x in tensors.items()}, path)
    return path


def options_of(config):
    """As in diffusers' folder."""
    width = {"base_dim": config.dim, "decoder_base_dim": config.dec_dim}
    kind = {"is_residual": True, "patch_size": 2} if config.residual else {}
    return {
        "_class_name": "AutoencoderKLWan",
        "attn_scales": [],
        "dropout": 0.0,
        "in_channels": config.frame_channels,
        "out_channels": config.frame_channels,
        **{
            name: getattr(config, name)
            for name in (
                "z_dim",
                "dim_mult",
                "num_res_blocks",
                "temperal_downsample",
                "latents_mean",
                "latents_std",
            )
        },
        **width,
        **kind,
    }


def assert_weights(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("prefix", ["", "model.", "action_head.vae.model."])
def test_original_names(prefix, tmp_path):
    """With any prefix; sizes and dtype are those of the tensors."""
    tensors = tensors_of(OF_22, dtype=ml_dtypes.bfloat16)
    params = load_params(write(tmp_path / "vae.safetensors", tensors, prefix))
    assert params.model == WanVAEModel(replace(OF_22, dtype="bfloat16", **PLAIN))
    assert_weights(params.weights, import_state_dict(OF_22, tensors))
    wide = load_params(tmp_path / "vae.safetensors", dtype="float32")
    assert wide.model.config.dtype == "float32"
    assert {x.dtype for x in jax.tree.leaves(wide.weights)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    "config",
    [
        *CONFIGS.values(),
        *KINDS.values(),
        WanVAEConfig(dim=6, z_dim=5, dim_mult=(2, 1), temperal_downsample=(True,)),
        WanVAEConfig(dim=6, z_dim=5, dim_mult=(3,), temperal_downsample=()),
    ],
)
def test_tensors_tell_sizes(config, tmp_path):
    """All of them; means and deviations where a released VAE has as many channels."""
    if config not in CONFIGS.values():
        config = replace(config, **PLAIN)
    found = config_of_tensors(state_dict_shapes(config), tmp_path)
    assert found == replace(config, dtype="float32")


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_folders_of_diffusers(config, tmp_path):
    """Its names, its files' names, its configuration."""
    tensors = tensors_of(config, "diffusers")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    write(file, tensors)
    (tmp_path / "vae" / "config.json").write_text(json.dumps(options_of(config)))
    for path in (tmp_path / "vae", file):
        params = load_params(path)
        assert params.model == WanVAEModel(config)
        assert_weights(params.weights, import_state_dict(config, tensors, "diffusers"))


def test_shards_of_diffusers(tmp_path):
    """An index and its files."""
    tensors = tensors_of(OF_21, "diffusers")
    files = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {name: files[i % 2] for i, name in enumerate(tensors)}
    for file in files:
        write(tmp_path / file, {n: x for n, x in tensors.items() if index[n] == file})
    where = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    where.write_text(json.dumps({"weight_map": index}))
    (tmp_path / "config.json").write_text(json.dumps(options_of(OF_21)))
    weights = load_params(tmp_path).weights
    assert_weights(weights, import_state_dict(OF_21, tensors, "diffusers"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attn_scales": [0.5]}, "attn_scales must be"),
        ({"in_channels": 4}, "in_channels must be 3"),
        ({"patch_size": 2}, "patch_size must be None"),
        ({"decoder_base_dim": 8}, "without is_residual"),
        ({"dim_mult": [1]}, "0 halvings"),
    ],
)
def test_options_that_are_not_implemented(changes, words, tmp_path):
    """Named, with the file."""
    write(tmp_path / "model.safetensors", tensors_of(OF_21, "diffusers"))
    options = options_of(OF_21) | changes
    (tmp_path / "config.json").write_text(json.dumps(options))
    with pytest.raises(ValueError, match=rf"config\.json: .*{words}"):
        load_params(tmp_path)


def test_diffusers_sizes_need_their_configuration(tmp_path):
    """Of a size that is not released."""
    file = write(tmp_path / "vae.safetensors", tensors_of(OF_21, "diffusers"))
    with pytest.raises(ValueError, match=r"put its config\.json beside it"):
        load_params(file)


def test_out_of_a_folder_of_dreamzero(tmp_path):
    """The VAE beside the transformer, which `load_params` loads as before."""
    tensors = tensors_of(OF_21, dtype=ml_dtypes.bfloat16)
    named = {f"action_head.vae.model.{name}": x for name, x in tensors.items()}
    folder = write_original(tmp_path / "released", changes=named)
    found = open_part(folder)
    assert found is not None
    assert found.model.config == replace(OF_21, dtype="bfloat16", **PLAIN)
    assert_weights(found.load(), import_state_dict(OF_21, tensors))
    assert load_params(folder).model.name == "dreamzero"


def test_all_faults_are_told_at_once(tmp_path):
    """Missing, extra, misshapen."""
    tensors = tensors_of(OF_21)
    tensors["conv9.bias"] = tensors.pop("conv2.bias")
    tensors["encoder.head.0.gamma"] = np.zeros((7, 1, 1, 1), np.float32)
    file = write(tmp_path / "vae.safetensors", tensors)
    with pytest.raises(ValueError, match="3 faults") as told:
        load_params(file)
    for words in (
        "missing: conv2.bias",
        "extra: conv9.bias",
        "encoder.head.0.gamma is",
    ):
        assert words in str(told.value)


@pytest.mark.slow
def test_to_orbax_and_back(tmp_path):
    """Weights, sizes and dtype; the command does the same."""
    tensors = tensors_of(OF_22, "diffusers", ml_dtypes.bfloat16)
    folder = tmp_path / "vae"
    write(folder / "diffusion_pytorch_model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(options_of(OF_22)))
    params = load_params(folder)
    save_params(tmp_path / "saved", params)
    assert main(["convert", str(folder), str(tmp_path / "converted")]) == 0
    for again in ("saved", "converted"):
        back = load_params(tmp_path / again)
        assert back.model == params.model
        assert_weights(back.weights, params.weights)
    video = video_of(OF_22, 1)
    assert_same(
        *(
            encode(each.model.config, each.weights, video).astype(np.float32)
            for each in (params, back)
        )
    )


def test_pickles_are_refused(tmp_path):
    """The released files; the message says what to do."""
    file = tmp_path / "Wan2.1_VAE.pth"
    file.write_bytes(pickle.dumps({}))
    for path in (file, tmp_path):
        with pytest.raises(ValueError, match=r"is a pickle.*save_file"):
            load_params(path)


@pytest.mark.parametrize("name", CONFIGS)
def test_released_sizes_have_names(name, capsys):
    """For `load_model` and the command; weights come from a path."""
    assert load_model(name) == WanVAEModel(CONFIGS[name])
    assert main(["info", name]) == 0
    counts = {"2.1": ("126,892,531", "194"), "2.2": ("704,688,668", "196")}
    printed = capsys.readouterr().out
    assert all(count in printed for count in counts[name[-3:]])
    with pytest.raises(ValueError, match="no weights are bundled"):
        load_params(name)
