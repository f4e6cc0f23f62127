"""Wan's folders load whole, whoever wrote them, or one error tells all faults."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jax_stepcache import load_model, load_params, save_params
from jax_stepcache.checkpoints.layers import layers_together
from jax_stepcache.cli.main import main
from jax_stepcache.models.wan import RELEASES, import_state_dict, state_dict_shapes
from jax_stepcache.models.wan.checkpoint.folder import Layout, layout_of
from jax_stepcache.models.wan.checkpoint.release import release_of
from jax_stepcache.models.wan.checkpoint.scheduler import Scheduler
from jax_stepcache.models.wan.folder import load_folder
from jax_stepcache.models.wan.tiny import KINDS, write_tiny

from .folders import SINGLE, options_of, tensors_of, write_original

pytest.importorskip("tokenizers")

PAIR = {(480, 832): "wan2.1-i2v-14b-480p", (720, 1280): "wan2.1-i2v-14b-720p"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder of each kind, made when it is asked for."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = write_tiny(tmp_path_factory.mktemp("tiny") / kind, kind)
        return made[kind]

    return folder


def assert_weights(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def weights_of(folder, kind):
    """By hand: what the files of diffusers hold."""
    config = KINDS[kind].transformer
    names = [p.name for p in sorted(folder.glob("transformer*"))]
    each = [import_state_dict(config, load_file(folder / n / SINGLE)) for n in names]
    return each[0] if len(each) == 1 else dict(zip(("high", "low"), each, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_pipelines_of_diffusers(kind, tiny):
    """Transformer or experts, the task, and what the folder says of the sampler."""
    folder = tiny(kind)
    params = load_params(folder)
    assert_weights(params.weights, weights_of(folder, kind))
    release, wanted = params.model.release, KINDS[kind]
    assert release.task == kind.split("-", maxsplit=1)[0]
    assert release.shift == wanted.shift
    assert release.boundary_ratio == wanted.boundary_ratio
    assert release.stride == ((4, 16, 16) if kind == "ti2v" else (4, 8, 8))
    assert params.model.transformer == wanted.transformer


@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
def test_one_expert(part, tiny):
    """By its name, or by its folder."""
    folder = tiny("i2v-a14b")
    one = load_params(folder, part=part)
    expert = "high" if part == "transformer" else "low"
    assert_weights(one.weights, weights_of(folder, "i2v-a14b")[expert])
    assert load_params(folder / part).model == one.model
    assert one.model.release.boundary_ratio is None


@pytest.mark.parametrize("kind", ["t2v", "flf2v", "ti2v"])
def test_folders_of_the_original(kind, tiny, tmp_path):
    """One transformer, whose tensors say whether it looks at pictures."""
    path = write_original(tmp_path / "Wan", tiny(kind) / "transformer", kind)
    params = load_params(path)
    assert_weights(params.weights, weights_of(tiny(kind), kind))
    assert params.model.release.task == kind
    assert params.model.transformer == KINDS[kind].transformer


def test_experts_of_the_original(tiny, tmp_path):
    """Two folders; the boundary is the release's; each may be loaded by itself."""
    kind, source = "i2v-a14b", tiny("i2v-a14b")
    for name, theirs in (("high", "transformer"), ("low", "transformer_2")):
        write_original(tmp_path / "w" / f"{name}_noise_model", source / theirs, kind)
    params = load_params(tmp_path / "w")
    assert_weights(params.weights, weights_of(source, kind))
    assert params.model.release.boundary_ratio == 0.9
    for name in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(source / name, tmp_path / "w" / name)
    waiting = load_folder(tmp_path / "w", offload="experts").params
    assert_weights(waiting.weights, params.weights)
    shutil.rmtree(tmp_path / "w" / "low_noise_model")
    with pytest.raises(FileNotFoundError, match="lacks low_noise_model, the low-noise"):
        load_model(tmp_path / "w")


def test_an_expert_that_a_pipeline_has_not(tiny):
    """Asked for by its name it is told, and not the one there is given for it."""
    with pytest.raises(ValueError, match="holds no transformer_2"):
        load_model(tiny("t2v"), part="transformer_2")


@pytest.mark.slow
def test_single_files(tmp_path):
    """Of ComfyUI, without a configuration: heads of 128 channels."""
    config = KINDS["t2v"].transformer
    config = replace(
        config, num_attention_heads=1, attention_head_dim=128, num_layers=1
    )
    rng = np.random.default_rng(0)
    tensors = {
        n: rng.standard_normal(s).astype(np.float16)
        for n, s in state_dict_shapes(config, "original").items()
    }
    file = tmp_path / "wan.safetensors"
    save_file({f"model.diffusion_model.{n}": x for n, x in tensors.items()}, file)
    params = load_params(file, dtype="float32")
    assert params.model.transformer == config
    assert_weights(
        params.weights,
        jax.tree.map(
            lambda x: x.astype(np.float32), import_state_dict(config, tensors)
        ),
    )


@pytest.mark.slow
def test_converted_is_the_same(tiny, tmp_path, capsys):
    """Both experts, part by part; and saved from memory, layers apart."""
    folder = tiny("t2v-a14b")
    wanted = weights_of(folder, "t2v-a14b")
    assert main(["convert", str(folder), str(tmp_path / "ours")]) == 0
    params = load_params(tmp_path / "ours", layers="apart")
    assert params.model == load_model(folder)
    assert_weights(layers_together(params.weights["low"]), wanted["low"])
    save_params(tmp_path / "again", params)
    assert_weights(load_params(tmp_path / "again").weights, wanted)
    one = ["convert", str(folder), str(tmp_path / "low"), "--part", "transformer_2"]
    assert main(one) == 0
    assert_weights(load_params(tmp_path / "low").weights, wanted["low"])
    capsys.readouterr()


def changed(source, target, file, **changes):
    """A copy of a folder with other entries in a file of JSON."""
    shutil.copytree(source, target)
    said = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(said | changes))
    return target


INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
CONFIG = "transformer/config.json"


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (INDEX, {"_class_name": "WanVACEPipeline"}, "unknown pipeline 'WanVACEPip"),
        (INDEX, {"boundary_ratio": 0.9}, "lacks transformer_2, the low-noise expert"),
        (INDEX, {"transformer_2": ["diffusers", "WanT"]}, "lacks transformer_2"),
        (SCHEDULER, {"_class_name": "DDPMScheduler"}, "unknown scheduler 'DDPMSch"),
        (SCHEDULER, {"use_flow_sigmas": False}, "use_flow_sigmas must be True"),
        (CONFIG, {"qk_norm": "layer"}, "sizes cannot be told: qk_norm must be"),
        (CONFIG, {"num_layer": 3}, "Did you mean 'num_layers'"),
    ],
)
def test_what_is_not_implemented(file, changes, words, tiny, tmp_path):
    """Named, with the file, before weights are read."""
    folder = changed(tiny("t2v"), tmp_path / "x", file, **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_model(folder)


def test_faults_are_told_together(tiny, tmp_path):
    """Missing, extra and misshapen tensors of one expert, by their folder."""
    folder = tmp_path / "x"
    shutil.copytree(tiny("t2v-a14b"), folder)
    file = folder / "transformer_2" / SINGLE
    tensors = load_file(file)
    del tensors["blocks.1.ffn.net.2.bias"]
    tensors |= {"more": np.ones(1, np.float32), "proj_out.bias": np.ones(3, np.float32)}
    save_file(tensors, file)
    with pytest.raises(ValueError, match="3 faults") as told:
        load_params(folder)
    for words in (
        "missing: transformer_2/blocks.1.ffn.net.2.bias",
        "extra: transformer_2/more",
        "shape: transformer_2/proj_out.bias is (3,), the model has (64,)",
    ):
        assert words in str(told.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "vace"}, "model_type is 'vace'; implemented are t2v, i2v"),
        ({"qk_norm": False}, "qk_norm must be True"),
        ({"num_heads": 5}, "num_heads 5 does not divide dim 48"),
    ],
)
def test_other_originals(changes, words, tiny, tmp_path):
    """Options of the original that are not implemented."""
    source = tiny("t2v") / "transformer"
    path = write_original(tmp_path / "x", source, "t2v", **changes)
    with pytest.raises(ValueError, match=f"sizes cannot be told: {words}"):
        load_model(path)


def test_sizes_that_nothing_tells(tiny, tmp_path):
    """Without a configuration, of heads that are not 128 wide, or under other names."""
    tensors = tensors_of(tiny("t2v") / "transformer")
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"of 48 channels, put a config\.json"):
        load_model(tmp_path / "x.safetensors")
    shutil.copy(tiny("t2v") / "transformer" / SINGLE, tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match=r"diffusers' config\.json, which tells"):
        load_model(tmp_path / "y.safetensors")
    assert options_of("t2v")["dim"] == 48


@pytest.mark.parametrize(
    ("name", "layout", "wanted"),
    [
        ("wan2.1-i2v-14b-480p", {"hint": "wan2.1-i2v-14b-480p"}, (480, 832)),
        ("wan2.1-i2v-14b-480p", {"hint": "wan"}, (720, 1280)),
        ("wan2.1-i2v-14b-480p", {"scheduler": 3.0}, (480, 832)),
        ("wan2.1-i2v-14b-720p", {"scheduler": 5.0}, (720, 1280)),
        ("wan2.1-i2v-14b-480p", {"hint": "i2v-480p", "scheduler": 8.0}, (480, 832)),
        ("wan2.1-i2v-14b-480p", {"hint": "i2v-480p", "scheduler": 5.0}, (480, 832)),
        ("wan2.1-i2v-14b-720p", {"hint": "i2v-720p", "scheduler": 3.0}, (720, 1280)),
        ("wan2.1-i2v-14b-720p", {"hint": "wan", "scheduler": 8.0}, (720, 1280)),
        ("wan2.1-t2v-14b", {"scheduler": 3.0}, (720, 1280)),
    ],
)
def test_releases_of_one_size(name, layout, wanted):
    """The folder decides: by its name, else by its scheduler; an edited shift is kept
    and makes no other release of it, whose size and caches' settings it would get."""
    if shift := layout.get("scheduler"):
        layout["scheduler"] = Scheduler("unipc", "diffusers_unipc", shift)
    config = RELEASES[name].transformer
    release = release_of(config, Layout({"": "x"}, False, **layout))
    assert release.size == wanted
    assert release.shift == (shift or release.shift)
    assert release.task == "t2v" or release.name == PAIR[wanted]


def test_what_a_folder_is_called(tmp_path):
    """By its own name; beneath the hub's cache, where that is a hash, by its
    repository's."""
    cached = tmp_path / "models--Wan-AI--Wan2.1-I2V-14B-480P" / "snapshots" / "0a1b"
    for folder in (tmp_path / "Wan2.1-I2V-14B-480P", cached):
        folder.mkdir(parents=True)
        found = layout_of(folder)
        assert found is not None
        assert "480p" in found.hint
