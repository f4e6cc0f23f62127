"""CLIP's image encoder gives the original's numbers."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.clip_vision import (
    CLIPVisionConfig,
    bind,
    encode,
    import_state_dict,
    state_dict_shapes,
)
from jax_stepcache.models.clip_vision.network.resize import normalised, resize
from jax_stepcache.models.layers.stack import block_of

from .cases import parametrize, vectors_dir
from .recorded import assert_close, part

WITHIN = 1e-3  # absolute, of what lies between


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = sorted((vectors_dir(metafunc.config) / "encoders").glob("image*.npz"))
    if "case" not in metafunc.fixturenames:
        parametrize(metafunc, "file", files, [f"encoders-{f.name}" for f in files])
        return
    cases = [(file, name) for file in files for name in _cases(file)]
    ids = [f"encoders-{file.name}-{name}" for file, name in cases]
    kinds = [file.name for file, _ in cases]
    parametrize(metafunc, "file, case", cases, ids, kinds)


def _cases(file: Path) -> list[str]:
    with np.load(file) as recorded:
        return sorted(n.split("/")[0] for n in recorded.files if n.endswith("/image"))


@functools.lru_cache(maxsize=2)
def _load(file: Path) -> tuple[dict[str, np.ndarray], CLIPVisionConfig, Any]:
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    config = CLIPVisionConfig.from_dict(json.loads(str(arrays["__config__"])))
    return arrays, config, import_state_dict(config, part(arrays, "w/"))


@functools.partial(jax.jit, static_argnums=0)
def _walk(
    config: CLIPVisionConfig, weights: Any, pictures: jax.Array
) -> dict[str, jax.Array]:
    """What each part gives, by the recorder's names; layer after layer."""
    encoder = bind(config, weights)
    resized = resize(pictures, config.image_size)
    pixels = normalised(resized)
    seen = {
        "resized": jnp.moveaxis(resized, -1, 1),
        "pixels": jnp.moveaxis(pixels, -1, 1),
    }
    seen["embeddings"] = x = encoder.embed(pixels)
    seen["pre_norm"] = x = encoder.pre_norm(x)
    graph, layers = nnx.split(encoder.blocks)
    for i in range(config.depth):
        x = nnx.merge(graph, block_of(layers, i))(x)
        seen[f"block{i}"] = x
    return seen


def test_features_match_the_original(file: Path, case: str) -> None:
    """Features of bytes and of floats, the resized picture, and each block."""
    arrays, config, weights = _load(file)
    recorded = part(arrays, f"{case}/")
    image = recorded["image"]
    floats = image.astype(np.float32) / 127.5 - 1
    for pictures in (image, floats):
        assert_close(
            "features", encode(config, weights, pictures), recorded["features"]
        )
    seen = _walk(config, weights, floats)
    for name in ("resized", "pixels"):
        assert_close(name, seen[name], recorded[name])
    for name, theirs in part(recorded, "mid/").items():
        error = np.max(np.abs(np.asarray(seen[name]) - theirs))
        assert error <= WITHIN, f"{name}: max error {error:.2e}"


def test_names_of_transformers(file: Path) -> None:
    """Under the names that the file says transformers has, the weights are the same."""
    arrays, config, weights = _load(file)
    tensors = part(arrays, "w/")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == state_dict_shapes(config)
    names = json.loads(str(np.ravel(arrays["names"])[0]))
    theirs = dict(_renamed(tensors, names))
    jax.tree.map(
        np.testing.assert_array_equal, import_state_dict(config, theirs), weights
    )


def _renamed(
    tensors: dict[str, np.ndarray], names: dict[str, list[list[str]]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors as transformers has them; of three in one, each third."""
    made = {
        "": lambda x: x,
        "flat": np.ravel,
        "drop0": lambda x: x[0],
        **{which: lambda x, i=i: np.split(x, 3)[i] for i, which in enumerate("qkv")},
    }
    for ours, there in names.items():
        for name, what in there:
            yield name, made[what](tensors[ours])
