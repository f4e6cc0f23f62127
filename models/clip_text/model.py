"""The text encoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.part import PartModel, config_of, published, with_dtype
from .network.config import CONFIGS, CLIPTextConfig
from .network.parameters import weight_shapes

__all__ = [
    "CLIPTextModel",
    "axis_sizes",
    "config_of",
    "model_from_config",
    "named_model",
    "weights_struct",
    "with_dtype",
]


class CLIPTextModel(PartModel[CLIPTextConfig]):
    """What `Params` of a text encoder know of it; see `PartModel`."""

    name = "clip_text"


def model_from_config(config: Mapping[str, Any]) -> CLIPTextModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return CLIPTextModel(CLIPTextConfig.from_dict(config))


def weights_struct(model: CLIPTextModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: CLIPTextModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.config.num_heads}


def named_model(name: str) -> CLIPTextModel:
    """The model of a released size.

    Args:
        name: ``"clip-vit-l-14"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return CLIPTextModel(published("CLIP's text encoder", name, CONFIGS))
