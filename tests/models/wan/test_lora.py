"""LoRA on Wan: the keys that people's files have, on one transformer or an expert."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jax_stepcache import Params
from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models.wan import (
    RELEASES,
    WanPipeline,
    bind,
    init_weights,
    keep_lora,
    merge_lora,
    model_of,
    pipeline,
    tensor_plans,
)
from jax_stepcache.models.wan.checkpoint.name_map import state_dict_shapes
from jax_stepcache.models.wan.tiny import KINDS, write_tiny

RANK = 2
# Every affine map of a block, of the original and of ComfyUI's files.
MAPS = [
    *(f"self_attn.{n}" for n in "qkvo"),
    *(f"cross_attn.{n}" for n in ("q", "k", "v", "o", "k_img", "v_img")),
    "ffn.0",
    "ffn.2",
]


def params_of(kind="i2v"):
    config = KINDS[kind].transformer
    name = {"i2v": "wan2.1-i2v-14b-480p", "t2v-a14b": "wan2.2-t2v-a14b"}[kind]
    model = model_of(replace(RELEASES[name], transformer=config), (32, 32), 5)
    key = jax.random.key(0)
    drawn = jax.tree.map(
        lambda x: x + 0.1 * np.random.default_rng(1).standard_normal(x.shape),
        init_weights(config, key),
    )
    weights = jax.tree.map(lambda x: x.astype(np.float32), drawn)
    names = model.experts.names
    return Params(dict.fromkeys(names, weights) if names else weights, model)


def pair(shape, rng):
    down = rng.standard_normal((RANK, *shape[1:])).astype(np.float32)
    up = 0.1 * rng.standard_normal((shape[0], RANK))
    return down, up.astype(np.float32)


@pytest.fixture
def distilled(tmp_path):
    """As LightX2V's: factors of all maps; biases, norms and modulations as they are."""
    rng = np.random.default_rng(0)
    shapes = state_dict_shapes(KINDS["i2v"].transformer, "original")
    tensors = {}
    outside = ("time_embedding.0", "text_embedding.2", "time_projection.1", "head.head")
    modules = [f"blocks.{i}.{n}" for i in range(2) for n in MAPS]
    for module in [*modules, *outside, "img_emb.proj.1"]:
        down, up = pair(shapes[f"{module}.weight"], rng)
        bias = rng.standard_normal(up.shape[:1]).astype(np.float32)
        tensors |= {
            f"diffusion_model.{module}.lora_down.weight": down,
            f"diffusion_model.{module}.lora_up.weight": up,
            f"diffusion_model.{module}.alpha": np.asarray(1, np.float32),
            f"diffusion_model.{module}.diff_b": 0.1 * bias,
        }
    for name in ("blocks.0.self_attn.norm_q", "blocks.1.norm3", "patch_embedding"):
        shape = shapes[f"{name}.weight"]
        diff = 0.1 * rng.standard_normal(shape).astype(np.float32)
        tensors[f"diffusion_model.{name}.diff"] = diff
    for name in ("blocks.1", "head"):
        shape = shapes[f"{name}.modulation"]
        diff = 0.1 * rng.standard_normal(shape).astype(np.float32)
        tensors[f"diffusion_model.{name}.diff_m"] = diff
    save_file(tensors, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors", tensors


@pytest.mark.slow
def test_distilled_files(distilled):
    """Merged is NumPy's sum; beside, the transformer says the same."""
    path, tensors = distilled
    params = params_of()
    plan = tensor_plans(params.model, "transformer")[1]
    wanted = {n: np.array(x) for n, x in flat(params.weights).items()}
    for name, recipe in plan.items():
        for i, source in enumerate(recipe.sources):
            module, _, kind = source.rpartition(".")
            of = {
                k: tensors.get(f"diffusion_model.{module}.{k}")
                for k in ("lora_down.weight", "lora_up.weight", "diff", "diff_b")
            }
            added = of["diff"] if kind == "weight" else of["diff_b"]
            if kind == "modulation":
                added = tensors.get(f"diffusion_model.{module}.diff_m")
            if kind == "weight" and of["lora_up.weight"] is not None:
                added = of["lora_up.weight"] @ of["lora_down.weight"] / RANK
            if added is not None:
                part = wanted[name][i] if recipe.stacked else wanted[name]
                part += recipe.convert(0.8 * added)
    merged = merge_lora(params, path, scale=0.8)
    for name, x in flat(merged.weights).items():
        np.testing.assert_allclose(x, wanted[name], rtol=1e-5, atol=1e-5, err_msg=name)
    beside = keep_lora(params, path, scale=0.8)
    assert {n.rpartition(".adapter.")[0] for n in flat(beside.weights)} > {
        "blocks.self_attn.q",
        "blocks.cross_attn.image.k",
        "blocks.ffn.layer2",
        "head.proj",
    }

    @jax.jit
    def said(weights):
        network = bind(params.model.transformer, weights)
        rng = np.random.default_rng(2)
        given = [(1, 5, 24), (1, 257, 32), (1, 36, 1, 4, 4)]
        text, image, latent = (rng.standard_normal(s) for s in given)
        context = network.encode_prompt(text, image)
        return network(latent.astype(np.float32), np.float32([500]), context)

    with jax.default_matmul_precision("highest"):
        one, other = said(merged.weights), said(beside.weights)
    assert np.abs(one).max() > 0.1
    np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.slow
def test_each_expert_has_its_own(tmp_path):
    """Lightning's two files: one for high noise, one for low, by component."""
    params, rng = params_of("t2v-a14b"), np.random.default_rng(0)
    down, up = pair((48, 48), rng)
    tensors = {
        "transformer.blocks.1.attn1.to_q.lora_A.weight": down,
        "transformer.blocks.1.attn1.to_q.lora_B.weight": up,
    }
    save_file(tensors, tmp_path / "x.safetensors")
    for component, changed, kept in (
        ("transformer", "high", "low"),
        ("transformer_2", "low", "high"),
    ):
        path = tmp_path / "x.safetensors"
        got = merge_lora(params, path, component=component).weights
        kernel = got[changed]["blocks"]["self_attn"]["q"]["kernel"]
        before = params.weights[changed]["blocks"]["self_attn"]["q"]["kernel"]
        np.testing.assert_allclose(kernel[1] - before[1], (up @ down).T, atol=1e-5)
        np.testing.assert_array_equal(kernel[0], before[0])
        assert got[kept]["blocks"]["self_attn"]["q"]["kernel"] is before
        beside = keep_lora(params, path, component=component).weights
        assert "adapter" in beside[changed]["blocks"]["self_attn"]["q"]
        assert "adapter" not in beside[kept]["blocks"]["self_attn"]["q"]


def test_one_for_another_size(tmp_path):
    """Of the 14B on a smaller Wan: told by the widths, and nothing is changed."""
    tensors = {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": (4, 5120),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": (5120, 4),
    }
    zeros = {name: np.zeros(shape, np.float16) for name, shape in tensors.items()}
    save_file(zeros, tmp_path / "x.safetensors")
    words = r"another size.*self_attn\.q changes 5120 x 5120, the model has 48 x 48"
    with pytest.raises(ValueError, match=words):
        merge_lora(params_of(), tmp_path / "x.safetensors")


def test_files_are_checked_before_weights_are_loaded(tmp_path, monkeypatch):
    """For another size, or experts that there are not: by the headers."""
    folder = write_tiny(tmp_path / "wan", "t2v")
    wide = {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": (4, 50),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": (50, 4),
    }
    file = tmp_path / "x.safetensors"
    save_file({name: np.zeros(s, np.float16) for name, s in wide.items()}, file)
    monkeypatch.setattr(pipeline, "load_folder", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(ValueError, match="another size"):
        WanPipeline.from_folder(folder, lora=file)
    with pytest.raises(ValueError, match="one transformer: give a file"):
        WanPipeline.from_folder(folder, lora={"high": file})
