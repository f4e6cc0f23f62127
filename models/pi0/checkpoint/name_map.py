"""The names that openpi's checkpoints have for our weights, and their shapes there.

Layers are stacked there as here. Heads have an axis of their own there; here they lie
side by side, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from jax_stepcache.checkpoints.streaming import Recipe, as_it_is
from jax_stepcache.checkpoints.weights import flat

from ...checkpoints.name_map import imported
from ...sizes.parameters import Weights
from ..network.config import Pi0Config
from ..network.parameters import weight_shapes

# Of ours and theirs, within a block.
_VISION = {
    "norm1": "LayerNorm_0",
    "norm2": "LayerNorm_1",
    "q": "MultiHeadDotProductAttention_0/query",
    "k": "MultiHeadDotProductAttention_0/key",
    "v": "MultiHeadDotProductAttention_0/value",
    "o": "MultiHeadDotProductAttention_0/out",
    "mlp.layer1": "MlpBlock_0/Dense_0",
    "mlp.layer2": "MlpBlock_0/Dense_1",
}
_GEMMA = {
    "norm1": "pre_attention_norm{}",
    "norm2": "pre_ffw_norm{}",
    "q.kernel": "attn/q_einsum{}/w",
    "kv.kernel": "attn/kv_einsum{}/w",
    "o.kernel": "attn/attn_vec_einsum{}/w",
    "mlp.gate_up.kernel": "mlp{}/gating_einsum",
    "mlp.down.kernel": "mlp{}/linear",
}
_AROUND = {
    "vision.patch_embedding": "PaliGemma/img/embedding",
    "vision.pos_embedding": "PaliGemma/img/pos_embedding",
    "vision.norm": "PaliGemma/img/Transformer/encoder_norm",
    "vision.head": "PaliGemma/img/head",
    "embedder": "PaliGemma/llm/embedder/input_embedding",
    "gemma.norm": "PaliGemma/llm/final_norm",
    "expert.norm": "PaliGemma/llm/final_norm_1",
    "state": "state_proj",
    "action_in": "action_in_proj",
    "action_out": "action_out_proj",
}


def _patches(kernel: Any) -> Any:
    """(rows, columns, channels, width), as the rows of a matrix, channels slowest."""
    return jnp.transpose(kernel, (2, 0, 1, 3)).reshape(-1, kernel.shape[-1])


def _first(x: Any) -> Any:
    """An axis of one less."""
    return x.reshape(x.shape[1:])


def _columns(kernel: Any) -> Any:
    """(layers, width, heads, channels), or without width: heads side by side."""
    return kernel.reshape(*kernel.shape[:-2], -1)


def _rows(kernel: Any) -> Any:
    """(layers, heads, channels, width): heads one below the other."""
    return kernel.reshape(len(kernel), -1, kernel.shape[-1])


def _heads(kernel: Any) -> Any:
    """(layers, ..., heads, width, channels): heads side by side."""
    return _columns(jnp.moveaxis(kernel, -3, -2))


def plan(config: Pi0Config) -> dict[str, Recipe]:
    """How openpi's arrays become the weights.

    Args:
        config: the network's.

    Returns:
        A recipe for each weight, by name, with dots; its source's parts are joined by
        ``/``.
    """
    shapes = {name: x.shape for name, x in flat(weight_shapes(config)).items()}
    return {
        name: Recipe((theirs,), shape, convert, shapes[name])
        for name, theirs, shape, convert in _sources(config, shapes)
    }


def _sources(
    config: Pi0Config, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, str, tuple[int, ...], Callable[[Any], Any]]]:
    """Name, theirs, the shape that it has there, and what is made of it."""
    for name, shape in shapes.items():
        theirs = _their_name(config, name)
        there, convert = shape, as_it_is
        v, g = config.vision, config.expert
        heads = (v.num_heads, v.width // v.num_heads)
        if name == "vision.patch_embedding.kernel":
            there, convert = (v.patch_size, v.patch_size, 3, v.width), _patches
        elif name == "vision.pos_embedding":
            there, convert = (1, *shape), _first
        elif name.startswith("vision.blocks.") and name.split(".")[2] in "qkv":
            there, convert = (*shape[:-1], *heads), _columns
        elif name == "vision.blocks.o.kernel":
            there, convert = (shape[0], *heads, shape[-1]), _rows
        elif name.endswith("blocks.q.kernel"):
            there = (shape[0], g.num_heads, shape[1], g.head_dim)
            convert = _heads
        elif name.endswith("blocks.kv.kernel"):
            there = (shape[0], 2, g.num_kv_heads, shape[2], g.head_dim)
            convert = _heads
        elif name.endswith("blocks.o.kernel"):
            there, convert = (shape[0], g.num_heads, g.head_dim, shape[-1]), _rows
        yield name, theirs, there, convert


def _their_name(config: Pi0Config, name: str) -> str:
    part, _, rest = name.partition(".blocks.")
    stem, _, last = name.rpartition(".")
    if rest:
        inside, _, last = rest.rpartition(".")
        if part == "vision":
            block = f"PaliGemma/img/Transformer/encoderblock/{_VISION[inside]}"
            return f"{block}/{last}"
        which = "_1" if part == "expert" else ""
        block = "PaliGemma/llm/layers"
        if rest in _GEMMA:
            return f"{block}/{_GEMMA[rest].format(which)}"
        inside, _, behind = rest.partition(".")
        return f"{block}/{_GEMMA[inside].format(which)}/{_norm(behind)}"
    if name in _AROUND:
        return _AROUND[name]
    for ours, theirs in _AROUND.items():
        if name.startswith(f"{ours}."):
            behind = name.removeprefix(f"{ours}.")
            return f"{theirs}/{_norm(behind)}"
    # What is left are the maps of the time.
    return (
        f"{'' if config.pi05 else 'action_'}{stem.replace('time_', 'time_mlp_')}/{last}"
    )


def _norm(behind: str) -> str:
    """A norm's map of the time, or its scale, or whatever else has one part."""
    return behind.replace("modulation.", "Dense_0/")


def import_arrays(config: Pi0Config, arrays: Mapping[str, Any]) -> Weights:
    """Renames and reshapes openpi's arrays.

    Args:
        config: the network's.
        arrays: by their names there, parts joined by ``/``.

    Returns:
        Nested dict of arrays.

    Raises:
        ValueError: naming every array that is missing, extra or misshapen.
    """
    return imported(plan(config), arrays)
