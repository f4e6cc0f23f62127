"""Weights of the original's PyTorch checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe, as_it_is

from .config import DreamZeroConfig
from .parameters import Weights, weight_shapes


class _Tensor(NamedTuple):
    """How one tensor of the checkpoint becomes one of ours.

    Attributes:
        source: its name in the checkpoint, ``{layer}`` standing for the block.
        shape: its shape there, for a target of a given shape (without layers).
        convert: makes ours of it, of NumPy's or JAX's arrays. These are functions of
            the module, so that programs made of them are compiled once.
    """

    source: str
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    convert: Callable[[Any], Any]


def _turned(tensor: Any) -> Any:
    return tensor.T


def _only(tensor: Any) -> Any:
    return tensor[0]


def _patches(tensor: Any) -> Any:
    return tensor.reshape(tensor.shape[0], -1).T


def _linear(name: str) -> dict[str, _Tensor]:
    """Torch keeps matrices as (out, in)."""
    return {
        "kernel": _Tensor(f"{name}.weight", lambda s: s[::-1], _turned),
        "bias": _same(f"{name}.bias"),
    }


def _category_linear(name: str) -> dict[str, _Tensor]:
    """(1, in, out): of the embodiment categories the checkpoints keep one."""
    return {
        "kernel": _Tensor(f"{name}.W", lambda s: (1, *s), _only),
        "bias": _Tensor(f"{name}.b", lambda s: (1, *s), _only),
    }


def _norm(name: str) -> dict[str, _Tensor]:
    return {"scale": _same(f"{name}.weight"), "bias": _same(f"{name}.bias")}


def _rms_norm(name: str) -> dict[str, _Tensor]:
    return {"scale": _same(f"{name}.weight")}


def _same(name: str) -> _Tensor:
    return _Tensor(name, lambda s: s, as_it_is)


def _modulation(name: str) -> _Tensor:
    """(1, rows, D): with an axis for the batch."""
    return _Tensor(name, lambda s: (1, *s), _only)


def _mlp(name: str, first: int, second: int) -> dict[str, dict[str, _Tensor]]:
    """Torch numbers the parts of an nn.Sequential, activations included."""
    return {
        "layer1": _linear(f"{name}.{first}"),
        "layer2": _linear(f"{name}.{second}"),
    }


def _category_mlp(name: str) -> dict[str, dict[str, _Tensor]]:
    return {
        layer: _category_linear(f"{name}.{layer}") for layer in ("layer1", "layer2")
    }


def _table(config: DreamZeroConfig) -> dict:
    """Every weight of ours, in our structure, and where it comes from."""
    _, ph, pw = config.patch_size
    patch = _linear("patch_embedding")
    patch["kernel"] = _Tensor(
        "patch_embedding.weight",  # a convolution whose stride is its size
        lambda s: (s[1], config.in_dim, 1, ph, pw),
        _patches,
    )
    block = "blocks.{layer}"
    table = {
        "patch_embedding": patch,
        "text_embedding": _mlp("text_embedding", 0, 2),
        "time_embedding": _mlp("time_embedding", 0, 2),
        "time_projection": _linear("time_projection.1"),
        "state_encoder": _category_mlp("state_encoder"),
        "action_encoder": {
            name: _category_linear(f"action_encoder.{name}")
            for name in ("W1", "W2", "W3")
        },
        "action_decoder": _category_mlp("action_decoder"),
        "head": {
            "modulation": _modulation("head.modulation"),
            "proj": _linear("head.head"),
        },
        "blocks": {
            "modulation": _modulation(f"{block}.modulation"),
            "norm3": _norm(f"{block}.norm3"),
            "ffn": _mlp(f"{block}.ffn", 0, 2),
            "self_attn": {
                **{n: _linear(f"{block}.self_attn.{n}") for n in "qkvo"},
                "norm_q": _rms_norm(f"{block}.self_attn.norm_q"),
                "norm_k": _rms_norm(f"{block}.self_attn.norm_k"),
            },
            "cross_attn": {
                "q": _linear(f"{block}.cross_attn.q"),
                "norm_q": _rms_norm(f"{block}.cross_attn.norm_q"),
                "text": {
                    "k": _linear(f"{block}.cross_attn.k"),
                    "v": _linear(f"{block}.cross_attn.v"),
                    "norm_k": _rms_norm(f"{block}.cross_attn.norm_k"),
                },
                "o": _linear(f"{block}.cross_attn.o"),
            },
        },
    }
    if config.image_dim is not None:
        table["blocks"]["cross_attn"]["image"] = {
            "k": _linear(f"{block}.cross_attn.k_img"),
            "v": _linear(f"{block}.cross_attn.v_img"),
            "norm_k": _rms_norm(f"{block}.cross_attn.norm_k_img"),
        }
        table["img_emb"] = {
            "norm_in": _norm("img_emb.proj.0"),
            "mlp": _mlp("img_emb.proj", 1, 3),
            "norm_out": _norm("img_emb.proj.4"),
        }
    return table


def state_dict_shapes(config: DreamZeroConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint's tensors for a configuration.

    Args:
        config: the model's.

    Returns:
        Shapes by name, without the checkpoint's prefix (``action_head.model.``).
    """
    return {
        name: tensor.shape(shape)
        for _, tensor, shape, names in _entries(config)
        for name in names
    }


def plan(config: DreamZeroConfig, prefix: str = "") -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights, for one that is streamed.

    Args:
        config: the model's.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    recipes = {}
    for path, tensor, shape, names in _entries(config):
        stacked = path[0] == "blocks"
        recipes[".".join(path)] = Recipe(
            sources=tuple(prefix + name for name in names),
            source_shape=tensor.shape(shape),
            convert=tensor.convert,
            shape=(len(names), *shape) if stacked else shape,
            stacked=stacked,
        )
    return recipes


def import_state_dict(
    config: DreamZeroConfig, tensors: Mapping[str, np.ndarray]
) -> Weights:
    """Renames, transposes and stacks the tensors of a PyTorch state dict.

    Args:
        config: the model's.
        tensors: the DiT's tensors by name, without the checkpoint's prefix
            (``action_head.model.``).

    Returns:
        Weights as `bind` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, unknown or misshapen.
    """
    expected = state_dict_shapes(config)
    faults = [f"missing {name}" for name in expected if name not in tensors]
    faults += [f"unknown {name}" for name in tensors if name not in expected]
    faults += [
        f"{name} has shape {np.shape(tensors[name])}, not {shape}"
        for name, shape in expected.items()
        if name in tensors and np.shape(tensors[name]) != shape
    ]
    if faults:
        raise ValueError(
            f"the state dict does not fit the configuration, {len(faults)} faults: "
            + "; ".join(faults)
        )
    weights: Weights = {}
    for path, tensor, _, names in _entries(config):
        parts = [tensor.convert(np.asarray(tensors[name])) for name in names]
        stacked = np.stack(parts) if path[0] == "blocks" else parts[0]
        node = weights
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.asarray(stacked)
    return weights


def _entries(
    config: DreamZeroConfig,
) -> Iterator[tuple[tuple[str, ...], _Tensor, tuple[int, ...], list[str]]]:
    """Each weight: its path, its source, its shape in one layer, source names."""

    def walk(table, shapes, path):
        if not isinstance(table, _Tensor):
            for key, value in table.items():
                yield from walk(value, shapes[key], (*path, key))
        elif path[0] == "blocks":
            layers = range(config.num_layers)
            names = [table.source.format(layer=layer) for layer in layers]
            yield path, table, shapes.shape[1:], names
        else:
            yield path, table, shapes.shape, [table.source]

    yield from walk(_table(config), weight_shapes(config), ())
