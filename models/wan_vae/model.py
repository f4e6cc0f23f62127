"""A VAE as something that is loaded and saved by name; it is no diffusion model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.part import PartModel, config_of, published, with_dtype
from .network.config import WanVAEConfig
from .network.parameters import weight_shapes
from .network.published import CONFIGS

__all__ = [
    "WanVAEModel",
    "axis_sizes",
    "config_of",
    "model_from_config",
    "named_model",
    "weights_struct",
    "with_dtype",
]


class WanVAEModel(PartModel[WanVAEConfig]):
    """What `Params` of a VAE know of it; see `PartModel`."""

    name = "wan_vae"


def model_from_config(config: Mapping[str, Any]) -> WanVAEModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return WanVAEModel(WanVAEConfig.from_dict(config))


def weights_struct(model: WanVAEModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: WanVAEModel) -> dict[str, int]:
    """No axis has several numbers of each of what it is cut by."""
    del model
    return {}


def named_model(name: str) -> WanVAEModel:
    """The model of a released size.

    Args:
        name: ``"wan-vae-2.1"`` or ``"wan-vae-2.2"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return WanVAEModel(published("Wan VAE", name, CONFIGS))
