"""UMT5's text encoder gives the original's numbers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.layers.stack import block_of
from jax_stepcache.models.umt5 import (
    UMT5Config,
    bind,
    encode,
    import_state_dict,
)
from jax_stepcache.models.umt5.network.positions import buckets, position_bias

from .cases import parametrize, vectors_dir
from .recorded import assert_close, part

WITHIN = 1e-3  # absolute, of what lies between


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = sorted((vectors_dir(metafunc.config) / "encoders").glob("text*.npz"))
    if "case" not in metafunc.fixturenames:
        parametrize(metafunc, "file", files, [f"encoders-{f.name}" for f in files])
        return
    cases = [(file, name) for file in files for name in _cases(file)]
    ids = [f"encoders-{file.name}-{name}" for file, name in cases]
    kinds = [file.name for file, _ in cases]
    parametrize(metafunc, "file, case", cases, ids, kinds)


def _cases(file: Path) -> list[str]:
    with np.load(file) as recorded:
        return sorted(n.split("/")[0] for n in recorded.files if n.endswith("/ids"))


@functools.lru_cache(maxsize=2)
def _load(file: Path) -> tuple[dict[str, np.ndarray], UMT5Config, Any]:
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    config = UMT5Config.from_dict(json.loads(str(arrays["__config__"])))
    return arrays, config, import_state_dict(config, part(arrays, "w/"))


@functools.partial(jax.jit, static_argnums=0)
def _walk(
    config: UMT5Config, weights: Any, ids: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """What each part gives, by the recorder's names; layer after layer."""
    encoder = bind(config, weights)
    x = encoder.token_embedding.get_value()[ids]
    graph, layers = nnx.split(encoder.blocks)
    seen = {}
    for i in range(config.num_layers):
        block = nnx.merge(graph, block_of(layers, i))
        name = f"block{i}"
        bias = position_bias(config, block.positions.get_value(), ids.shape[1])
        seen[f"{name}_norm1"] = block.norm1(x)
        seen[f"{name}_attn"] = block.attn(block.norm1(x), bias, mask)
        inner = x + seen[f"{name}_attn"]
        seen[f"{name}_ffn"] = block.ffn(block.norm2(inner))
        seen[name] = x = block(x, mask)
    return seen | {"out": encoder(ids, mask)}


def test_features_match_the_original(file: Path, case: str) -> None:
    """Prompts by their own length, what is before the zeros, and each block's parts."""
    arrays, config, weights = _load(file)
    recorded = part(arrays, f"{case}/")
    ids, mask = recorded["ids"], recorded["mask"]
    found = encode(config, weights, ids, mask)
    assert_close("prompt", found, recorded["prompt_emb"])
    seen = _walk(config, weights, ids, mask != 0)
    assert_close("out", seen["out"], recorded["out"])
    for name, theirs in part(recorded, "mid/").items():
        error = np.max(np.abs(np.asarray(seen[name]) - theirs))
        assert error <= WITHIN, f"{name}: max error {error:.2e}"
    if (cut := recorded.get("prompt_emb_original_batch")) is not None:
        shortest = (mask != 0).sum(axis=1).min()
        ours = np.where(np.arange(ids.shape[1])[:, None] < shortest, found, 0)
        assert_close("as the original has it in a batch", ours, cut)


def test_distances_are_of_the_original_kind(file: Path, case: str) -> None:
    """Every pair of tokens, exactly."""
    arrays, config, _ = _load(file)
    theirs = arrays[f"{case}/bucket"]
    place = np.arange(len(theirs))
    np.testing.assert_array_equal(
        buckets(config, place[None, :] - place[:, None]), theirs
    )


def test_names_of_transformers(file: Path) -> None:
    """Under the names that the file says transformers has, the weights are the same."""
    arrays, config, weights = _load(file)
    tensors = part(arrays, "w/")
    names = json.loads(str(np.ravel(arrays["names"])[0]))
    theirs = {there: tensors[ours] for ours, all in names.items() for there in all}
    jax.tree.map(
        np.testing.assert_array_equal, import_state_dict(config, theirs), weights
    )
