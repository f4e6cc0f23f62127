"""The text encoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout

from .network.config import UMT5Config
from .network.parameters import weight_shapes
from .network.published import CONFIGS


@dataclass(frozen=True)
class UMT5Model:
    """What `Params` of a text encoder know of it, a `Part`. Hashable and static.

    Attributes:
        config: the sizes, which `encode` takes.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    config: UMT5Config
    layout: Layout | None = None

    name = "umt5"


def model_from_config(config: Mapping[str, Any]) -> UMT5Model:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return UMT5Model(UMT5Config.from_dict(config))


def config_of(model: UMT5Model) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    return asdict(model.config)


def weights_struct(model: UMT5Model) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: UMT5Model) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.config.num_heads}


def named_model(name: str) -> UMT5Model:
    """The model of a released size.

    Args:
        name: ``"umt5-xxl"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in CONFIGS:
        raise ValueError(unknown_name("UMT5", name, CONFIGS))
    return UMT5Model(CONFIGS[name])


def with_dtype(model: UMT5Model, dtype: str) -> UMT5Model:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, config=replace(model.config, dtype=dtype))
