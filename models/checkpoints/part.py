"""A network beside the one that is sampled: how it is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import jax

from jax_stepcache.checkpoints.placement import device_bytes
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.offered import offered, placed_by_name

_Config = TypeVar("_Config")
_Model = TypeVar("_Model", bound="PartModel[Any]")


@dataclass(frozen=True)
class PartModel(Generic[_Config]):
    """What `Params` of such a network know of it, a `Part`. Hashable and static.

    Attributes:
        config: the sizes, which its functions take.
        layout: where rows, heads and so on lie on a mesh, or None.
        name: of its package.
    """

    config: _Config
    layout: Layout | None = None

    name: ClassVar[str]


def config_of(model: PartModel[Any]) -> dict[str, Any]:
    """What the package's `model_from_config` takes; JSON."""
    sizes = asdict(model.config)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}


def with_dtype(model: _Model, dtype: str) -> _Model:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, config=replace(model.config, dtype=dtype))


def published(what: str, name: str, configs: Mapping[str, _Config]) -> _Config:
    """The sizes of a release.

    Args:
        what: the network is, for the error.
        name: of the size.
        configs: those that there are, by name.

    Returns:
        The sizes.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in configs:
        raise ValueError(unknown_name(what, name, configs))
    return configs[name]


def memory(
    model: Any, rows: int, devices: int, layout: Layout | None = None
) -> dict[str, int]:
    """Bytes of each device that hold the model, from shapes alone.

    Args:
        model: a `PartModel`; weights are counted in its activations' dtype.
        rows: looked at nowhere.
        devices: how many there are.
        layout: how rules cut weights over these; without, as `load_params` spreads them
            where no rules are given.

    Returns:
        Those of the weights.

    Raises:
        ValueError: where the rules do not fit the model.
    """
    del rows
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, model.config.dtype),
        offered(model, "weights_struct")(model),
    )
    by_name = None if layout is None else placed_by_name(model, layout)
    return {"weights": device_bytes(weights, devices, by_name)}
