"""Weights of the original's PyTorch checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe, as_it_is
from jax_stepcache.checkpoints.weights import differences, flat, nested, require_fit

from .config import DiTConfig
from .network import FREQUENCIES
from .parameters import Weights, weight_shapes
from .positions import position_embedding

POSITIONS = "pos_embed"
"""The checkpoints' position embedding, which is fixed and not among our weights."""


class _Tensor(NamedTuple):
    """How one tensor of the checkpoint becomes one of ours, or a layer of it.

    Attributes:
        source: its name in the checkpoint, ``{layer}`` standing for the block.
        shape: its shape there.
        convert: makes ours of it, of NumPy's or JAX's arrays. A function of the
            module, so that programs made of it are compiled once.
    """

    source: str
    shape: tuple[int, ...]
    convert: Callable[[Any], Any] = as_it_is


def _turned(tensor: Any) -> Any:
    return tensor.T


def _patches(tensor: Any) -> Any:
    return tensor.reshape(tensor.shape[0], -1).T


def _linear(ours: str, source: str, inner: int, outer: int) -> dict[str, _Tensor]:
    """Torch keeps matrices as (out, in)."""
    return {
        f"{ours}.kernel": _Tensor(f"{source}.weight", (outer, inner), _turned),
        f"{ours}.bias": _Tensor(f"{source}.bias", (outer,)),
    }


def _table(config: DiTConfig) -> dict[str, _Tensor]:
    """Every weight of ours, by name, and where it comes from."""
    c, dim, p = config, config.hidden_size, config.patch_size
    labels, block = "y_embedder.embedding_table.weight", "blocks.{layer}"
    return {
        # A convolution whose stride is its size.
        "patch_embedding.kernel": _Tensor(
            "x_embedder.proj.weight", (dim, c.in_channels, p, p), _patches
        ),
        "patch_embedding.bias": _Tensor("x_embedder.proj.bias", (dim,)),
        **_linear("time_embedding.layer1", "t_embedder.mlp.0", FREQUENCIES, dim),
        **_linear("time_embedding.layer2", "t_embedder.mlp.2", dim, dim),
        "label_embedding": _Tensor(labels, (c.num_classes + 1, dim)),
        **_linear("blocks.attn.qkv", f"{block}.attn.qkv", dim, 3 * dim),
        **_linear("blocks.attn.proj", f"{block}.attn.proj", dim, dim),
        **_linear("blocks.mlp.layer1", f"{block}.mlp.fc1", dim, c.mlp_width),
        **_linear("blocks.mlp.layer2", f"{block}.mlp.fc2", c.mlp_width, dim),
        **_linear("blocks.modulation", f"{block}.adaLN_modulation.1", dim, 6 * dim),
        **_linear("head.modulation", "final_layer.adaLN_modulation.1", dim, 2 * dim),
        **_linear("head.proj", "final_layer.linear", dim, p * p * c.out_channels),
    }


def plan(config: DiTConfig) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the model's.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    table, recipes = _table(config), {}
    for name, struct in flat(weight_shapes(config)).items():
        tensor = table[name]
        stacked = "{layer}" in tensor.source
        layers = range(config.depth if stacked else 1)
        recipes[name] = Recipe(
            sources=tuple(tensor.source.format(layer=layer) for layer in layers),
            source_shape=tensor.shape,
            convert=tensor.convert,
            shape=struct.shape,
            stacked=stacked,
        )
    return recipes


def state_dict_shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint's tensors, position embedding included."""
    shapes = {
        source: recipe.source_shape
        for recipe in plan(config).values()
        for source in recipe.sources
    }
    return shapes | {POSITIONS: (1, config.tokens, config.hidden_size)}


def import_state_dict(config: DiTConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes and stacks the tensors of a PyTorch state dict.

    Args:
        config: the model's.
        tensors: arrays by their names there. The position embedding may be left out;
            where it is given, it must be the one that the model computes.

    Returns:
        Weights as `bind` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    wanted = state_dict_shapes(config)
    given = {name: np.shape(tensor) for name, tensor in tensors.items()}
    faults = differences(
        *({n: x for n, x in of.items() if n != POSITIONS} for of in (given, wanted))
    )
    if POSITIONS in tensors:
        faults += position_faults(config, tensors[POSITIONS])
    require_fit("the state dict", faults)

    def make(recipe: Recipe) -> jax.Array:
        parts = [recipe.convert(tensors[source]) for source in recipe.sources]
        return jnp.stack(parts) if recipe.stacked else jnp.asarray(parts[0])

    made = {name: make(recipe) for name, recipe in plan(config).items()}
    return nested(made, "the state dict")


def position_faults(config: DiTConfig, given: Any) -> list[str]:
    """Compares a checkpoint's position embedding with the one that is computed.

    Args:
        config: the model's.
        given: what should be (1, tokens, D).

    Returns:
        A line if they differ by more than 16-bit floats round, or in shape.
    """
    ours = position_embedding(config.grid, config.hidden_size)
    if np.shape(given) != (1, *ours.shape):
        return differences({POSITIONS: np.shape(given)}, {POSITIONS: (1, *ours.shape)})
    apart = np.abs(np.asarray(given, np.float32)[0] - ours).max()
    if apart <= 1e-2:
        return []
    return [
        f"positions: {POSITIONS} differs by up to {apart:.3g} from the sines and "
        "cosines that the model computes"
    ]
