"""The names that the original's checkpoints, and diffusers', have for our weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import imported, recipes, source_shapes, way_of
from ...checkpoints.tensors import Table, Tensor
from ...checkpoints.video_table import video_table
from ...sizes.parameters import Weights
from ..network.parameters import weight_shapes
from ..sizes import WanConfig
from .names import to_diffusers

NAMINGS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"diffusers": to_diffusers, "original": lambda name: name}
)
"""Who names tensors, and how, from the original's names."""


def plan(
    config: WanConfig, naming: str = "diffusers", prefix: str = ""
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights of one transformer.

    Args:
        config: the transformer's.
        naming: ``"diffusers"`` or ``"original"``.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.

    Raises:
        ValueError: for another naming.
    """
    table = _renamed(video_table(config.video), way_of(naming, NAMINGS))
    return recipes(table, weight_shapes(config), prefix)


def state_dict_shapes(
    config: WanConfig, naming: str = "diffusers"
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one transformer, without a prefix."""
    return source_shapes(plan(config, naming))


def import_state_dict(config: WanConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes and stacks the tensors of a state dict.

    Args:
        config: the transformer's.
        tensors: arrays by diffusers' names or the original's, without prefix.

    Returns:
        Weights of one transformer, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    naming = naming_of(tensors) or "diffusers"
    return imported(plan(config, naming), tensors)


def naming_of(names: Any) -> str | None:
    """Who named tensors, without prefix: of each there is one that only it has."""
    if "patch_embedding.weight" not in names:
        return None
    if "condition_embedder.time_proj.weight" in names:
        return "diffusers"
    return "original" if "time_projection.1.weight" in names else None


def _renamed(table: Table, name: Callable[[str], str]) -> Table:
    """The table with other names for its tensors."""

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            if isinstance(value.source, str):
                return replace(value, source=name(value.source))
            return replace(value, source=tuple(map(name, value.source)))
        return _renamed(value, name)

    return {key: of(value) for key, value in table.items()}
