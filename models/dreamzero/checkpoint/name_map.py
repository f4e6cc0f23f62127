"""The names that the original's PyTorch checkpoints have for our weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import assembled, recipes, source_shapes
from ...checkpoints.tensors import Table, only
from ...checkpoints.video_table import video_table
from ...sizes.parameters import Weights
from ..model import DreamZeroModel
from ..network.config import DreamZeroConfig
from ..network.parameters import misfits, weight_shapes


def _category_linear(name: str) -> Table:
    """(1, in, out): of the embodiment categories the checkpoints keep one."""
    return {"kernel": only(f"{name}.W"), "bias": only(f"{name}.b")}


def _category_mlp(name: str) -> Table:
    return {
        layer: _category_linear(f"{name}.{layer}") for layer in ("layer1", "layer2")
    }


def _table(config: DreamZeroConfig) -> Table:
    """Every weight of ours, in our structure, and where it comes from."""
    return video_table(config.video) | {
        "state_encoder": _category_mlp("state_encoder"),
        "action_encoder": {
            name: _category_linear(f"action_encoder.{name}")
            for name in ("W1", "W2", "W3")
        },
        "action_decoder": _category_mlp("action_decoder"),
    }


def state_dict_shapes(config: DreamZeroConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint's tensors for a configuration.

    Args:
        config: the model's.

    Returns:
        Shapes by name, without the checkpoint's prefix (``action_head.model.``).
    """
    return source_shapes(plan(config))


def plan(config: DreamZeroConfig, prefix: str = "") -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights, for one that is streamed.

    Args:
        config: the model's.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    return recipes(_table(config), weight_shapes(config), prefix)


def tensor_plans(model: DreamZeroModel, component: str) -> tuple[dict[str, Recipe]]:
    """How tensors become weights, for LoRA; there is one way of naming them.

    Args:
        model: the model.
        component: looked at nowhere, for there is one transformer.

    Returns:
        The plan.
    """
    del component
    return (plan(model.dit),)


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
    given = {name: np.shape(tensor) for name, tensor in tensors.items()}
    if faults := misfits(given, state_dict_shapes(config)):
        raise ValueError(
            f"the state dict does not fit the configuration, {len(faults)} faults: "
            + "; ".join(faults)
        )
    on_host = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    return assembled(plan(config), on_host)
