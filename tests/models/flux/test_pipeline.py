"""FLUX whole: a folder and words to pictures."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from jax_stepcache import as_table, flow_schedule, load_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.flux import FluxPipeline, keep_lora, merge_lora
from jax_stepcache.models.flux.checkpoint.name_map import state_dict_shapes
from jax_stepcache.models.flux.folder import load_folder
from jax_stepcache.models.flux.tiny import write_tiny
from jax_stepcache.models.prompts import Tokens
from jax_stepcache.network.params import Params

SIZE = {"height": 32, "width": 48, "num_inference_steps": 6}
LED = {"negative_prompt": "a ball", "true_cfg_scale": 2.0}
WORDS = ["a cat walks", "a ball"]
RECORDED = Path(__file__).parents[2] / "data" / "flux_pipelines"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("flux") / "dev")


@pytest.fixture(scope="module")
def pipeline(folder):
    return FluxPipeline.from_folder(folder)


def with_tokens_of(recorded, pipeline):
    """The pipeline, with T5's tokens as recorded.

    What its tokenizer is trained to differs from process to process.
    """
    encoders = pipeline.encoders
    np.testing.assert_array_equal(encoders.tokenize(WORDS), recorded["ids"])
    known = dict(zip(WORDS, recorded["ids_2"].astype(np.int32), strict=True))

    def tokenize(texts):
        ids = np.stack([known[text] for text in texts])
        return Tokens(ids, np.ones_like(ids))

    return FluxPipeline(pipeline.params, replace(encoders, tokenize_t5=tokenize))


@pytest.mark.slow
def test_pictures_are_diffusers(pipeline):
    """From words to pixels: tokens exactly, latents to rounding, by both guidances."""
    recorded = np.load(RECORDED / "dev.npz")
    pipeline = with_tokens_of(recorded, pipeline)
    with jax.default_matmul_precision("highest"):
        plain = pipeline(WORDS[0], **SIZE, noise=recorded["noise"])
        guided = pipeline(WORDS[0], **SIZE, **LED, noise=recorded["noise"])
    np.testing.assert_allclose(plain.latents, recorded["latents"][0], atol=2e-4)
    np.testing.assert_allclose(guided.latents, recorded["guided"][0], atol=4e-4)
    pixels = plain.pixels / 255
    np.testing.assert_allclose(pixels, recorded["picture"][0], atol=1.01 / 255)


@pytest.mark.slow
def test_a_table_brings_levels_and_solver(pipeline):
    """As a cache it stands in place of the release's; what is beside it is told."""
    size = {"height": 32, "width": 48}
    levels = flow_schedule(3, 2.0)
    same = pipeline("a cat", **size, schedule=levels, solver="euler")
    bespoke = {
        "cache": "bespoke",
        "cache_config": {"table": as_table("euler", levels)},
    }
    made = pipeline("a cat", **size, **bespoke)
    np.testing.assert_allclose(made.latents, same.latents, atol=1e-4)
    by_slots = pipeline("a cat", **size, **bespoke, slots=2)
    np.testing.assert_allclose(by_slots.latents, same.latents, atol=1e-4)
    with pytest.raises(ValueError, match="num_inference_steps is 6, and a table"):
        pipeline("a cat", **SIZE, **bespoke)
    picture = np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(ValueError, match="begins inside a schedule"):
        pipeline("a cat", **size, **bespoke, image=picture)


@pytest.mark.slow
def test_changed_pictures_are_diffusers(pipeline):
    """A picture of another size, stretched, encoded, noised by strength, denoised."""
    recorded = np.load(RECORDED / "img2img.npz")
    pipeline = with_tokens_of(recorded, pipeline)
    given = {"image": recorded["image"], "noise": recorded["noise"], **SIZE}
    with jax.default_matmul_precision("highest"):
        for strength, steps in ((0.6, 4), (0.75, 5), (1.0, 6)):
            made = pipeline(WORDS[0], **given, strength=strength)
            assert len(made.stats.computed) == steps
            wanted = recorded[f"latents_{100 * strength:.0f}"][0]
            np.testing.assert_allclose(made.latents, wanted, rtol=1e-4, atol=1e-4)
            if strength == 0.75:
                pixels = made.pixels / 255
                wanted = recorded["picture_75"][0]
                np.testing.assert_allclose(pixels, wanted, atol=1.01 / 255)
        guided = pipeline(WORDS[0], **given, strength=0.75, **LED)
    wanted = recorded["guided_75"][0]
    np.testing.assert_allclose(guided.latents, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_several_pictures_are_what_each_is_alone(pipeline):
    """In one batch and by slots; the second has the next seed."""
    cached = {"cache": "cache_dit", "cache_config": {"residual_diff_threshold": 0.5}}
    alone = pipeline("a cat", **SIZE, seed=4, **cached)
    asked = {**SIZE, "seed": 3, "num_images": 3, "slots": 2, **cached}
    several = pipeline("a cat", **asked)
    assert [one.seed for one in several] == [3, 4, 5]
    np.testing.assert_allclose(several[1].latents, alone.latents, atol=1e-5)
    np.testing.assert_array_equal(several[1].stats.computed, alone.stats.computed)
    assert np.abs(several[0].latents - alone.latents).max() > 0.1


@pytest.mark.slow
def test_a_picture_is_changed_as_much_as_is_asked(pipeline):
    """Of 6 steps diffusers begins in the middle of one: 5 at 0.75."""
    picture = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    sizes = {"num_inference_steps": 6, "image": picture, "strength": 0.75}
    made = pipeline("a cat", **sizes)
    assert made.pixels.shape == (32, 48, 3)
    assert len(made.stats.computed) == 5


@pytest.mark.slow
def test_bad_input(pipeline, folder, tmp_path):
    """Named errors before anything is encoded."""
    for more, words in (
        ({"height": 33, "width": 48}, "multiples of 16"),
        ({"height": 32}, "give height and width, or neither"),
        ({"strength": 0.5}, "give image="),
        ({"true_cfg_scale": 2.0}, "no negative_prompt"),
        ({"num_images": 0}, "num_images"),
        ({"image": np.ones((2, 2))}, "image is float64"),
        ({"cache": "tea_cach"}, "Did you mean 'tea_cache'"),
        ({"slots": 1, "progress": True}, "leave out progress= or slots="),
        ({"slots": 0}, "slots is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            pipeline("a cat", **{**SIZE, **more} if "height" not in more else more)
    (tmp_path / "odd.png").write_text("no picture")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        pipeline("a cat", **SIZE, image=str(tmp_path / "none.png"))
    with pytest.raises(ValueError, match=r"odd\.png"):
        pipeline("a cat", **SIZE, image=tmp_path / "odd.png")
    with pytest.raises(TypeError, match="Did you mean 'num_images'"):
        pipeline("a cat", num_image=2)
    with pytest.raises(TypeError, match="must be those of a FLUX"):
        FluxPipeline(load_params("tabletop"), pipeline.encoders)
    release = pipeline.model.release
    other = replace(release.transformer, joint_attention_dim=10)
    model = replace(pipeline.model, release=replace(release, transformer=other))
    with pytest.raises(ValueError, match="T5's width: 24"):
        FluxPipeline(Params({}, model), pipeline.encoders)
    assert main(["picture", "x", "--params", "tabletop", "--out", "a.png"]) == 1
    odd = ["picture", "x", "--params", str(folder), "--height", "33", "--width", "32"]
    assert main([*odd, "--out", str(tmp_path / "a.png")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("slots", [None, 1])
def test_what_waits_on_the_host_changes_nothing(pipeline, folder, slots):
    """The same pictures; and between calls nothing of it is on the devices."""
    asked = {**SIZE, "seed": 1, "cache": "tea_cache", "slots": slots}
    asked |= {"num_images": 2, "negative_prompt": "a dog", "true_cfg_scale": 2.0}
    same = pipeline("a cat", **asked)
    waiting = FluxPipeline.from_folder(folder, offload=["text_encoder", "transformer"])
    encoders = waiting.encoders
    for one in (waiting.params, encoders.clip, encoders.t5):
        assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(one.weights))
    for made, wanted in zip(waiting("a cat", **asked), same, strict=True):
        np.testing.assert_array_equal(made.latents, wanted.latents)
        np.testing.assert_array_equal(made.pixels, wanted.pixels)
        np.testing.assert_array_equal(made.stats.computed, wanted.stats.computed)
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(encoders.t5.weights))


def test_parts_that_cannot_wait(folder):
    """The nearest name; True is the encoders of text, as of other pipelines."""
    with pytest.raises(ValueError, match="Did you mean 'text_encoder'"):
        FluxPipeline.from_folder(folder, offload="text_encodr")
    loaded = load_folder(folder, offload=True)
    assert set(loaded.encoders.waiting) == {"clip", "t5"}
    assert loaded.place is None
    assert load_folder(folder, offload="transformer").encoders.waiting == {}


def test_the_original_file_is_the_same_weights(folder, tmp_path):
    """One file under the original's names, with the axes that shapes do not tell."""
    params = load_params(folder)
    config = params.model.transformer
    tensors = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    made = _as_original(config, tensors)
    file = tmp_path / "flux1-dev.safetensors"
    save_file(made, file)
    with pytest.raises(ValueError, match="axes_dims_rope beside it"):
        load_params(file)
    (tmp_path / "config.json").write_text('{"axes_dims_rope": [4, 6, 6]}')
    other = load_params(file)
    jax.tree.map(np.testing.assert_array_equal, params.weights, other.weights)
    assert other.model.transformer == config


def _as_original(config, tensors):
    """diffusers' tensors under the original's names, by the recorded rules."""
    made, dim = {}, config.dim
    streams = {
        "img": ("", "to_{}", "norm", "to_out.0"),
        "txt": ("_context", "add_{}_proj", "norm_added", "to_add_out"),
    }
    for end in ("weight", "bias"):
        for ours, theirs in {
            "img_in": "x_embedder",
            "txt_in": "context_embedder",
            "final_layer.linear": "proj_out",
        }.items():
            made[f"{ours}.{end}"] = tensors[f"{theirs}.{end}"]
        for ours, theirs in (
            ("time", "timestep"),
            ("guidance", "guidance"),
            ("vector", "text"),
        ):
            for i, layer in enumerate(("in_layer", "out_layer"), 1):
                made[f"{ours}_in.{layer}.{end}"] = tensors[
                    f"time_text_embed.{theirs}_embedder.linear_{i}.{end}"
                ]
        head = tensors[f"norm_out.linear.{end}"]
        made[f"final_layer.adaLN_modulation.1.{end}"] = np.concatenate(
            [head[dim:], head[:dim]]
        )
        for i in range(config.num_layers):
            at, to = f"transformer_blocks.{i}", f"double_blocks.{i}"
            for who, (more, kind, norm, out) in streams.items():
                proj = [f"{at}.attn.{kind.format(x)}.{end}" for x in "qkv"]
                made[f"{to}.{who}_attn.qkv.{end}"] = np.concatenate(
                    [tensors[n] for n in proj]
                )
                made[f"{to}.{who}_attn.proj.{end}"] = tensors[f"{at}.attn.{out}.{end}"]
                made[f"{to}.{who}_mod.lin.{end}"] = tensors[
                    f"{at}.norm1{more}.linear.{end}"
                ]
                for own, net in (("0", "0.proj"), ("2", "2")):
                    theirs = tensors[f"{at}.ff{more}.net.{net}.{end}"]
                    made[f"{to}.{who}_mlp.{own}.{end}"] = theirs
                for x, long in (("q", "query"), ("k", "key")):
                    own = f"{to}.{who}_attn.norm.{long}_norm.scale"
                    made[own] = tensors[f"{at}.attn.{norm}_{x}.weight"]
        for i in range(config.num_single_layers):
            at, to = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
            parts = [
                *(f"{at}.attn.to_{x}.{end}" for x in "qkv"),
                f"{at}.proj_mlp.{end}",
            ]
            made[f"{to}.linear1.{end}"] = np.concatenate([tensors[n] for n in parts])
            made[f"{to}.linear2.{end}"] = tensors[f"{at}.proj_out.{end}"]
            made[f"{to}.modulation.lin.{end}"] = tensors[f"{at}.norm.linear.{end}"]
            for x, long in (("q", "query"), ("k", "key")):
                own = f"{to}.norm.{long}_norm.scale"
                made[own] = tensors[f"{at}.attn.norm_{x}.weight"]
    assert made.keys() == state_dict_shapes(config, "original").keys()
    return made


def _lora(names, rng):
    """Factors of rank 2 for affine maps by name and shape."""
    made = {}
    for name, (out, inside) in names.items():
        made[f"{name}.lora_down.weight"] = rng.standard_normal((2, inside))
        made[f"{name}.lora_up.weight"] = rng.standard_normal((out, 2))
    return {name: x.astype(np.float32) for name, x in made.items()}


@pytest.mark.parametrize("change", [merge_lora, keep_lora])
def test_lora_of_stacked_projections(folder, tmp_path, change):
    """What changes queries, keys and values in one changes all three of ours."""
    params = load_params(folder)
    dim, wide = params.model.transformer.dim, params.model.transformer.mlp_width
    rng = np.random.default_rng(0)
    joint = {
        "lora_unet_double_blocks_1_img_attn_qkv": (3 * dim, dim),
        "lora_unet_single_blocks_0_linear1": (3 * dim + wide, dim),
    }
    made = _lora(joint, rng)
    save_file(made, tmp_path / "joint.safetensors")
    found = change(params, tmp_path / "joint.safetensors").weights

    def effective(module, layer):
        kernel = np.asarray(module["kernel"][layer])
        if "adapter" in module:
            pair = module["adapter"]
            kernel = kernel + np.asarray(pair["a"][layer]) @ np.asarray(
                pair["b"][layer]
            )
        return kernel

    for name, path, layer in (
        ("lora_unet_double_blocks_1_img_attn_qkv", ("double", "image"), 1),
        ("lora_unet_single_blocks_0_linear1", ("single",), 0),
    ):
        delta = made[f"{name}.lora_up.weight"] @ made[f"{name}.lora_down.weight"]
        ours, before = found, params.weights
        for part in path:
            ours, before = ours[part], before[part]
        for i, one in enumerate("qkv"):
            wanted = np.asarray(before["attn"][one]["kernel"][layer])
            wanted = wanted + delta[i * dim : (i + 1) * dim].T
            np.testing.assert_allclose(
                effective(ours["attn"][one], layer), wanted, atol=1e-5
            )
        if path == ("single",):
            wanted = np.asarray(before["mlp"]["kernel"][layer]) + delta[3 * dim :].T
            np.testing.assert_allclose(effective(ours["mlp"], layer), wanted, atol=1e-5)


def test_lora_with_a_part_for_text_encoders(folder, tmp_path):
    """A folder with such a file is that with its transformer's part."""
    plain = load_params(folder)
    dim, rng = plain.model.transformer.dim, np.random.default_rng(0)
    made = _lora({"transformer_blocks.0.attn.to_q": (dim, dim)}, rng)
    more = _lora({"lora_te1_text_model_encoder_layers_0_mlp_fc1": (8, 8)}, rng)
    save_file(made, tmp_path / "part.safetensors")
    save_file(made | more, tmp_path / "whole.safetensors")
    with pytest.warns(UserWarning, match="passed over.*: lora_te1_text_model"):
        found = load_folder(folder, lora=tmp_path / "whole.safetensors").params
    wanted = merge_lora(plain, tmp_path / "part.safetensors")
    jax.tree.map(np.testing.assert_array_equal, found.weights, wanted.weights)


def test_pictures_are_written(tmp_path):
    """As Pillow reads them; several with numbers before the ending."""
    from jax_stepcache.models.flux.pictures import FluxPicture
    from jax_stepcache.paths import numbered

    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = FluxPicture(pixels, None, None)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), pixels)
    assert [x.name for x in tmp_path.iterdir()] == ["a.png"]
    assert [x.name for x in numbered("a.png", 2)] == ["a-0.png", "a-1.png"]
    with pytest.raises(ValueError, match="no ending of a picture"):
        picture.save(tmp_path / "a.mp4")


@pytest.mark.slow
def test_the_command_names_the_files_that_it_has_written(folder, tmp_path, capsys):
    """Several pictures each have a file, and in slots decisions of their own."""
    size = ["--height", "32", "--width", "32", "--steps", "2", "--cache", "step_cache"]
    asked = ["picture", "x", "--params", str(folder), *size, "--num-images", "2"]
    assert main([*asked, "--slots", "2", "--out", str(tmp_path / "a.png")]) == 0
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a-0.png", "a-1.png"]
    said = capsys.readouterr().out
    assert f"pictures: {files[0]}, {files[1]}" in said
    assert all(f"{file.name} " in said for file in files)
