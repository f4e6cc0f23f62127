"""The names that the original's PyTorch checkpoints have for our weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import differences, require_fit

from ...checkpoints.name_map import assembled, recipes, source_shapes
from ...checkpoints.tensors import Table, linear, mlp, patches, same
from ...sizes.parameters import Weights
from ..network.config import DiTConfig
from ..network.parameters import weight_shapes
from ..network.positions import position_embedding

POSITIONS = "pos_embed"
"""The checkpoints' position embedding, which is fixed and not among our weights."""


def _table(config: DiTConfig) -> Table:
    """Every weight of ours, in our structure, and where it comes from."""
    c, p = config, config.patch_size
    labels, block = "y_embedder.embedding_table.weight", "blocks.{layer}"
    patch = linear("x_embedder.proj")
    patch["kernel"] = patches("x_embedder.proj.weight", (c.in_channels, p, p))
    return {
        "patch_embedding": patch,
        "time_embedding": mlp("t_embedder", "mlp.0", "mlp.2"),
        "label_embedding": same(labels),
        "blocks": {
            "attn": {x: linear(f"{block}.attn.{x}") for x in ("qkv", "proj")},
            "mlp": mlp(f"{block}.mlp", "fc1", "fc2"),
            "modulation": linear(f"{block}.adaLN_modulation.1"),
        },
        "head": {
            "modulation": linear("final_layer.adaLN_modulation.1"),
            "proj": linear("final_layer.linear"),
        },
    }


def plan(config: DiTConfig) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the model's.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    return recipes(_table(config), weight_shapes(config))


def state_dict_shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint's tensors, position embedding included."""
    positions = {POSITIONS: (1, config.tokens, config.hidden_size)}
    return source_shapes(plan(config)) | positions


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

    return assembled(plan(config), tensors)


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
