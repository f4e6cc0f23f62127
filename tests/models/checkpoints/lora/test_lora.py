"""LoRA merged into weights, kept beside them, and added in NumPy are one model."""

from __future__ import annotations

import json
import re

import jax
import ml_dtypes
import numpy as np
import pytest

from jax_stepcache import Params
from jax_stepcache.checkpoints.layers import layers_apart, layers_together
from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models.checkpoints.lora import check_lora, keep_lora, merge_lora
from jax_stepcache.models.dit import named_model

from .toy import NAMINGS, Toy, params_of, run, shapes_of, tensor_plans, write

# How a pair and what goes with it are called: prefix, first, second, where dots go.
STYLES = {
    "peft": ("base_model.model.", "lora_A.weight", "lora_B.weight", "."),
    "adapter": ("transformer.", "lora_A.default.weight", "lora_B.default.weight", "."),
    "diffusers": ("transformer.", "lora_A.weight", "lora_B.weight", "."),
    "older": ("", "lora.down.weight", "lora.up.weight", "."),
    "comfy": ("diffusion_model.", "lora_down.weight", "lora_up.weight", "."),
    "kohya": ("lora_unet_", "lora_down.weight", "lora_up.weight", "_"),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pairs_of(naming, rng, ranks=(2,)):
    """Factors for each matrix and convolution; a rank for each in turn."""
    made = {}
    shapes = shapes_of(naming)
    for i, name in enumerate(n for n in shapes if n.endswith(".weight")):
        shape, rank = shapes[name], ranks[i % len(ranks)]
        ones = (1,) * (len(shape) - 2)
        made[name.removesuffix(".weight")] = (
            rng.standard_normal((rank, *shape[1:])).astype(np.float32),
            rng.standard_normal((shape[0], rank, *ones)).astype(np.float32),
        )
    return made


def file_of(path, naming, style, pairs, alpha=None, metadata=None, more=None):
    prefix, first, second, dot = STYLES[style]
    tensors = {}
    for target, (down, up) in pairs.items():
        start = prefix + target.replace(".", dot)
        tensors |= {f"{start}.{first}": down, f"{start}.{second}": up}
        if alpha is not None:
            tensors[f"{start}.alpha"] = np.asarray(alpha, np.float32)
    return write(path, tensors | (more or {}), metadata)


def by_hand(params, naming, sums):
    """Weights with sums added in NumPy, by the tensors' names."""
    plan = dict(zip(NAMINGS, tensor_plans(params.model, None), strict=True))[naming]
    weights = {n: np.array(x) for n, x in flat(params.weights).items()}
    for name, recipe in plan.items():
        for i, source in enumerate(recipe.sources):
            if source in sums:
                part = weights[name][i] if recipe.stacked else weights[name]
                part += recipe.convert(sums[source])
    return weights


def product(pair, factor=1.0):
    down, up = (x.astype(np.float64) for x in pair)
    made = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
    return (factor * made.reshape(up.shape[0], *down.shape[1:])).astype(np.float32)


def assert_weights(params, wanted):
    got = flat(layers_together(params.weights))
    assert got.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_allclose(got[name], x, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("naming", NAMINGS)
def test_key_styles(naming, style, tmp_path, rng):
    """Each style of keys, over either naming, changes what NumPy changes."""
    params, pairs = params_of(), pairs_of(naming, rng)
    path = file_of(tmp_path / "x.safetensors", naming, style, pairs, alpha=1.0)
    sums = {f"{n}.weight": product(pair, 0.7 / 2) for n, pair in pairs.items()}
    merged = merge_lora(params, path, scale=0.7)
    assert_weights(merged, by_hand(params, naming, sums))


@pytest.mark.parametrize("apart", [False, True])
def test_beside_is_merged(apart, tmp_path, rng):
    """Of any ranks, layer by layer; the weights stay what they are, arrays and all."""
    params = params_of()
    if apart:
        params = Params(layers_apart(params.weights), params.model)
    pairs = pairs_of("original", rng, ranks=(1, 3, 2))
    del pairs["blocks.1.ffn.0"]  # A layer without.
    more = {"diffusion_model.head.head.diff_b": np.ones(4, np.float32)}
    path = file_of(
        tmp_path / "x.safetensors", "original", "comfy", pairs, alpha=2.0, more=more
    )
    beside = keep_lora(params, path, scale=0.5)
    kept = flat(beside.weights)
    for name, x in flat(params.weights).items():
        if name.startswith("blocks."):
            assert kept[name] is x
    assert kept["blocks.up.adapter.a"][0].shape == (6, 3)
    x = rng.standard_normal((7, 8)).astype(np.float32)
    wanted = run(merge_lora(params, path, scale=0.5), x)
    np.testing.assert_allclose(run(beside, x), wanted, rtol=2e-4, atol=2e-4)
    again = keep_lora(beside, path, scale=-0.5)  # And back.
    np.testing.assert_allclose(run(again, x), run(params, x), rtol=2e-3, atol=2e-3)


def test_scale_runs_the_same_program(tmp_path, rng):
    """Beside, a scale is numbers: nothing is compiled anew."""
    params = params_of()
    path = file_of(
        tmp_path / "x.safetensors", "original", "comfy", pairs_of("original", rng)
    )
    x = rng.standard_normal((2, 8)).astype(np.float32)
    program = jax.jit(run)
    for scale in (0.0, 1.0):
        program(keep_lora(params, path, scale=scale), x)
    assert program._cache_size() == 1
    none = keep_lora(params, path, scale=0.0)
    np.testing.assert_array_equal(run(none, x), run(params, x))


def test_what_is_added_as_it_is(tmp_path, rng):
    """``diff`` and ``diff_b`` of distilled files, with and without a pair beside."""
    params, shapes = params_of(), shapes_of("original")
    names = {".diff": "patch.weight", ".diff_b": "blocks.2.ffn.2.bias"}
    sums = {
        n: rng.standard_normal(shapes[n]).astype(np.float32) for n in names.values()
    }
    more = {
        f"diffusion_model.{n.rpartition('.')[0]}{end}": sums[n]
        for end, n in names.items()
    }
    pairs = {"blocks.2.ffn.2": pairs_of("original", rng)["blocks.2.ffn.2"]}
    path = file_of(tmp_path / "x.safetensors", "original", "comfy", pairs, more=more)
    sums["blocks.2.ffn.2.weight"] = product(pairs["blocks.2.ffn.2"])
    wanted = {n: 0.5 * x for n, x in sums.items()}
    got = merge_lora(params, path, scale=0.5)
    assert_weights(got, by_hand(params, "original", wanted))


@pytest.mark.parametrize("where", ["header", "folder"])
@pytest.mark.parametrize(("rslora", "factor"), [(False, 3 / 2), (True, 3 / 2**0.5)])
def test_settings_of_peft(rslora, factor, where, tmp_path, rng):
    """Alpha in the header, as diffusers writes it, or beside the file, as PEFT does."""
    params, pairs = params_of(), pairs_of("diffusers", rng)
    said = {"lora_alpha": 3, "use_rslora": rslora, "alpha_pattern": {"net.2": 4}}
    if where == "header":
        metadata = {f"transformer.{k}": v for k, v in said.items()}
        path = file_of(
            tmp_path / "x.safetensors", "diffusers", "diffusers", pairs, None, metadata
        )
    else:
        path = tmp_path
        file_of(path / "adapter_model.safetensors", "diffusers", "peft", pairs)
        (path / "adapter_config.json").write_text(json.dumps(said))
    sums = {
        f"{n}.weight": product(pair, factor * (4 / 3 if n.endswith("net.2") else 1))
        for n, pair in pairs.items()
    }
    assert_weights(merge_lora(params, path), by_hand(params, "diffusers", sums))


def test_transformers_of_one_file(tmp_path, rng):
    """A file with changes for each of a pipeline's two gives each its own."""
    params = params_of()
    first, second = pairs_of("diffusers", rng), pairs_of("diffusers", rng)
    tensors = {}
    for prefix, pairs in (("transformer.", first), ("transformer_2.", second)):
        for target, (down, up) in pairs.items():
            tensors[f"{prefix}{target}.lora_A.weight"] = down
            tensors[f"{prefix}{target}.lora_B.weight"] = up
    path = write(tmp_path / "x.safetensors", tensors)
    for component, pairs in (("transformer", first), ("transformer_2", second)):
        sums = {f"{n}.weight": product(pair) for n, pair in pairs.items()}
        got = merge_lora(params, path, component=component)
        assert_weights(got, by_hand(params, "diffusers", sums))
    of_low = {n: x for n, x in tensors.items() if n.startswith("transformer_2.")}
    path = write(tmp_path / "low.safetensors", of_low)
    got = merge_lora(params, path, component="transformer_2")
    assert_weights(got, by_hand(params, "diffusers", sums))
    with pytest.raises(ValueError, match=r"transformer_2 alone.* asked for is transf"):
        merge_lora(params, path)


def test_dtypes_and_memory(tmp_path, rng):
    """bfloat16 is rounded once; what is consumed is freed, the rest is shared."""
    params, pairs = params_of(), pairs_of("original", rng)
    del pairs["head.head"]
    path = file_of(tmp_path / "x.safetensors", "original", "comfy", pairs)
    sums = {f"{n}.weight": product(pair) for n, pair in pairs.items()}
    half = Params(
        jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), params.weights),
        params.model,
    )
    wide = Params(jax.tree.map(lambda x: x.astype(np.float32), half.weights), Toy())
    exact = by_hand(wide, "original", sums)
    old = flat(half.weights)
    for name, x in flat(merge_lora(half, path, consume=True).weights).items():
        assert x.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(
            np.asarray(x, np.float32), exact[name], rtol=2**-8, atol=1e-6
        )
        changed = name.endswith("kernel") and not name.startswith("head")
        assert old[name].is_deleted() == changed


BAD = [
    ({"a.lora_A.weight": (2, 6)}, "a has a factor 'down' and not the other"),
    ({"a.lora_A.weight": (2, 6), "a.lora_B.weight": (6, 3)}, "no rank in common"),
    ({"a.dora_scale": (6,)}, "is of a DoRA; only LoRA is implemented"),
    ({"lora_unet_a.hada_w1_a": (6,)}, "is of a LoHa"),
    ({"some.weight": (6,)}, r"no LoRA of a known layout: 1 of its 1 tensors"),
    ({"a.alpha": ()}, "has no LoRA in it"),
    (
        {
            "blocks.0.ffn.0.lora_A.weight": (2, 9),
            "blocks.0.ffn.0.lora_B.weight": (7, 2),
        },
        r"another size, 1 of 1 changes do not fit: blocks\.0\.ffn\.0 changes 7 x 9, "
        "the model has 5 x 6",
    ),
    ({"head.head.diff": (1, 6)}, "adds 1 x 6, the model has 4 x 6"),
    ({"head.head.diff_b": (5,)}, "adds a bias of 5, the model has 4"),
    (
        {"blocks.9.ffn.0.diff_b": (5,), "blocks.0.ffn.0.diff_b": (5,)},
        r"changes 1 of 2 parts that this model has not: blocks\.9\.ffn\.0\. "
        r"merge_lora\(\.\.\., strict=False\) passes over them",
    ),
]


@pytest.mark.parametrize("apply", [merge_lora, keep_lora])
@pytest.mark.parametrize(("shapes", "words"), BAD)
def test_foreign_files(shapes, words, apply, tmp_path):
    """Told by the header alone: what is wrong, and what the model has."""
    tensors = {
        name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()
    }
    path = write(tmp_path / "x.safetensors", tensors)
    with pytest.raises(ValueError, match=words):
        apply(params_of(), path)


def test_numbers_that_are_none(tmp_path):
    """Are found as they are read."""
    bad = {"head.head.diff_b": np.full(4, np.inf, np.float32)}
    path = write(tmp_path / "x.safetensors", bad)
    with pytest.raises(ValueError, match=r"not finite: head\.head\.diff_b"):
        merge_lora(params_of(), path)


def test_what_the_model_has_not(tmp_path):
    """May be passed over, with a warning, unless that is all of it."""
    ones = np.ones(5, np.float32)
    both = {"blocks.9.ffn.0.diff_b": ones, "blocks.0.ffn.0.diff_b": ones}
    path = write(tmp_path / "x.safetensors", both)
    params = params_of()
    with pytest.warns(UserWarning, match=r"passed over.*blocks\.9\.ffn\.0"):
        got = merge_lora(params, path, strict=False)
    assert_weights(got, by_hand(params, "original", {"blocks.0.ffn.0.bias": ones}))
    path = write(tmp_path / "y.safetensors", {"blocks.9.ffn.0.diff_b": ones})
    with pytest.raises(ValueError, match="1 of 1 parts that this model has not"):
        merge_lora(params, path, strict=False)


@pytest.mark.parametrize(
    "beside",
    [
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
    ],
)
def test_what_is_of_text_encoders(beside, tmp_path):
    """Is named and passed over; the transformer's part is merged, or is missing."""
    ones, params = np.ones(5, np.float32), params_of()
    other = {
        f"{beside}.lora_down.weight": np.ones((2, 9), np.float32),
        f"{beside}.lora_up.weight": np.ones((7, 2), np.float32),
    }
    path = write(tmp_path / "x.safetensors", other | {"blocks.0.ffn.0.diff_b": ones})
    with pytest.warns(UserWarning, match=f"text encoders: {re.escape(beside)}"):
        check_lora(params, path)
    with pytest.warns(UserWarning, match="only the transformer is changed"):
        got = merge_lora(params, path)
    assert_weights(got, by_hand(params, "original", {"blocks.0.ffn.0.bias": ones}))
    odd = other | {"blocks.0.ffn.0.diff_b": ones, "blocks.9.ffn.0.diff_b": ones}
    path = write(tmp_path / "y.safetensors", odd)
    with pytest.raises(ValueError, match=r"1 of 3 parts.*: blocks\.9\.ffn\.0\."):
        merge_lora(params, path)
    path = write(tmp_path / "z.safetensors", other)
    with pytest.raises(ValueError, match="1 of 1 parts that this model has not"):
        merge_lora(params, path)


def test_arguments(tmp_path):
    """Named errors, before a file is opened."""
    params = params_of()
    with pytest.raises(TypeError, match="params must be a Params, got dict"):
        merge_lora(params.weights, tmp_path)
    with pytest.raises(TypeError, match="dit takes no LoRA"):
        merge_lora(Params({}, named_model("sit-s/2")), tmp_path)
    with pytest.raises(ValueError, match="scale is 'much'"):
        merge_lora(params, tmp_path, scale="much")
    with pytest.raises(ValueError, match="Did you mean 'transformer_2'"):
        merge_lora(params, tmp_path, component="transformer2")
    with pytest.raises(FileNotFoundError, match="has none of adapter_model"):
        merge_lora(params, tmp_path)
