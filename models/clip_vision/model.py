"""The image encoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.part import PartModel, config_of, published, with_dtype
from .network.config import CLIPVisionConfig
from .network.parameters import weight_shapes
from .network.published import CONFIGS

__all__ = [
    "CLIPVisionModel",
    "axis_sizes",
    "config_of",
    "model_from_config",
    "named_model",
    "weights_struct",
    "with_dtype",
]


class CLIPVisionModel(PartModel[CLIPVisionConfig]):
    """What `Params` of an image encoder know of it; see `PartModel`."""

    name = "clip_vision"


def model_from_config(config: Mapping[str, Any]) -> CLIPVisionModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))


def weights_struct(model: CLIPVisionModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: CLIPVisionModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.config.num_heads}


def named_model(name: str) -> CLIPVisionModel:
    """The model of a released size.

    Args:
        name: ``"clip-vit-h-14"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return CLIPVisionModel(published("CLIP", name, CONFIGS))
