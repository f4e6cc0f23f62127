"""The text encoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.part import PartModel, config_of, published, with_dtype
from .network.config import UMT5Config
from .network.parameters import weight_shapes
from .network.published import CONFIGS

__all__ = [
    "UMT5Model",
    "axis_sizes",
    "config_of",
    "model_from_config",
    "named_model",
    "weights_struct",
    "with_dtype",
]


class UMT5Model(PartModel[UMT5Config]):
    """What `Params` of a text encoder know of it; see `PartModel`."""

    name = "umt5"


def model_from_config(config: Mapping[str, Any]) -> UMT5Model:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return UMT5Model(UMT5Config.from_dict(config))


def weights_struct(model: UMT5Model) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: UMT5Model) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.config.num_heads}


def named_model(name: str) -> UMT5Model:
    """The model of a released size.

    Args:
        name: ``"umt5-xxl"`` or ``"t5-v1.1-xxl"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return UMT5Model(published("UMT5", name, CONFIGS))
