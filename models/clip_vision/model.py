"""The image encoder as something that is loaded and saved by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout

from .network.config import CLIPVisionConfig
from .network.parameters import weight_shapes
from .network.published import CONFIGS


@dataclass(frozen=True)
class CLIPVisionModel:
    """What `Params` of a image encoder know of it, a `Part`. Hashable and static.

    Attributes:
        config: the sizes, which `encode` takes.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    config: CLIPVisionConfig
    layout: Layout | None = None

    name = "clip_vision"


def model_from_config(config: Mapping[str, Any]) -> CLIPVisionModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))


def config_of(model: CLIPVisionModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    return asdict(model.config)


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
    if name not in CONFIGS:
        raise ValueError(unknown_name("CLIP", name, CONFIGS))
    return CLIPVisionModel(CONFIGS[name])


def with_dtype(model: CLIPVisionModel, dtype: str) -> CLIPVisionModel:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, config=replace(model.config, dtype=dtype))
