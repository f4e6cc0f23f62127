"""Reading recorded runs of Wan."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.wan import WanConfig
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

from .cases import parametrize, params_of, vectors_dir

# diffusers' names and ours, in order of what is looked for.
_RENAMED = (
    ("condition_embedder.text_embedder.linear_", "text_embedding.layer"),
    ("condition_embedder.time_embedder.linear_", "time_embedding.layer"),
    ("condition_embedder.time_proj", "time_projection"),
    ("condition_embedder.image_embedder.norm1", "img_emb.norm_in"),
    ("condition_embedder.image_embedder.norm2", "img_emb.norm_out"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.mlp.layer1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.mlp.layer2"),
    ("condition_embedder.image_embedder.pos_embed", "img_emb.pos_embed"),
    ("proj_out", "head.proj"),
    ("attn2.to_k", "cross_attn.text.k"),
    ("attn2.to_v", "cross_attn.text.v"),
    ("attn2.norm_k", "cross_attn.text.norm_k"),
    ("attn2.add_k_proj", "cross_attn.image.k"),
    ("attn2.add_v_proj", "cross_attn.image.v"),
    ("attn2.norm_added_k", "cross_attn.image.norm_k"),
    ("attn1.", "self_attn."),
    ("attn2.", "cross_attn."),
    (".to_out.0", ".o"),
    (".to_", "."),
    ("norm2.weight", "norm3.weight"),
    ("norm2.bias", "norm3.bias"),
    ("ffn.net.0.proj", "ffn.layer1"),
    ("ffn.net.2", "ffn.layer2"),
)


class Network(NamedTuple):
    """A recorded transformer."""

    config: WanConfig
    weights: dict[str, Any]


def files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``wan`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "wan").glob(pattern))


def cases(
    metafunc: pytest.Metafunc, pattern: str, kinds: Any = None, without: str = ""
) -> None:
    """Makes a test of each file."""
    found = [
        file
        for file in files(metafunc.config, pattern)
        if not (without and file.match(without))
    ]
    ids = [f"wan-{file.name}" for file in found]
    parametrize(metafunc, "file", found, ids, kinds and [kinds] * len(found))


@functools.lru_cache(maxsize=2)
def load(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A file's arrays and its settings."""
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    return arrays, json.loads(str(arrays.pop("config", "{}")))


@functools.lru_cache(maxsize=4)
def network(folder: Path, name: str) -> Network:
    """The transformer of a name, beside what was recorded of it."""
    file = params_of(folder, name)
    with np.load(file) as recorded:
        tensors = {n: recorded[n] for n in recorded.files if not n.startswith("__")}
        config = WanConfig.from_dict(json.loads(str(recorded["__config__"])))
    layers: dict[str, list[np.ndarray]] = {}
    flat: dict[str, np.ndarray] = {}
    for given, tensor in tensors.items():
        name, array = _ours(given, tensor)
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            layers.setdefault(rest, [None] * config.num_layers)[int(index)] = array
        else:
            flat[name] = array
    flat |= {f"blocks.{name}": np.stack(each) for name, each in layers.items()}
    nested: dict[str, Any] = {}
    for name, array in flat.items():
        *path, last = name.split(".")
        inside = nested
        for part in path:
            inside = inside.setdefault(part, {})
        inside[last] = jnp.asarray(array)
    return Network(config, nested)


def _ours(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    if name == "scale_shift_table":
        return "head.modulation", tensor[0]
    if name.endswith("scale_shift_table"):
        return name.replace("scale_shift_table", "modulation"), tensor[0]
    image = name.startswith("condition_embedder.image_embedder")
    for theirs, ours in _RENAMED:
        if not (image and theirs.startswith("norm2")):
            name = name.replace(theirs, ours)
    if name.endswith("pos_embed"):
        return name, tensor[0]
    stem, dot, last = name.rpartition(".")
    if last != "weight":
        return name, tensor
    if tensor.ndim == 1:
        return stem + dot + "scale", tensor
    return stem + dot + "kernel", tensor.reshape(len(tensor), -1).T


def schedule_of(arrays: dict[str, np.ndarray]) -> Schedule:
    """The recorded schedule."""
    return explicit_schedule(
        arrays["sigmas"].astype(np.float64), arrays["timesteps"].astype(np.float64)
    )


def assert_close(what: str, ours: Any, theirs: np.ndarray, most: float) -> None:
    """Shapes agree, and all values to the tolerance."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape}, not {theirs.shape}"
    error = np.max(np.abs(ours - theirs), initial=0)
    assert error <= most, f"{what}: max error {error:.2e}"


def highest(function: Any) -> Any:
    """The function with products as exact as they can be."""

    def run(*args: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args)

    return run
