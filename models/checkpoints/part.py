"""A network beside the one that is sampled: how it is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout

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
