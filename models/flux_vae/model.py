"""An autoencoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.part import PartModel, config_of, published, with_dtype
from .network.config import CONFIGS, FluxVAEConfig
from .network.parameters import weight_shapes

__all__ = [
    "FluxVAEModel",
    "axis_sizes",
    "config_of",
    "model_from_config",
    "named_model",
    "weights_struct",
    "with_dtype",
]


class FluxVAEModel(PartModel[FluxVAEConfig]):
    """What `Params` of an autoencoder know of it; see `PartModel`."""

    name = "flux_vae"


def model_from_config(config: Mapping[str, Any]) -> FluxVAEModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return FluxVAEModel(FluxVAEConfig.from_dict(config))


def weights_struct(model: FluxVAEModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: FluxVAEModel) -> dict[str, int]:
    """No axis has several numbers of each of what it is cut by."""
    del model
    return {}


def named_model(name: str) -> FluxVAEModel:
    """The model of the released size.

    Args:
        name: ``"flux-vae"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return FluxVAEModel(published("FLUX's autoencoder", name, CONFIGS))
