"""A VAE as something that is loaded and saved by name; it is no diffusion model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout

from .network.config import WanVAEConfig
from .network.parameters import weight_shapes
from .network.published import CONFIGS


@dataclass(frozen=True)
class WanVAEModel:
    """What `Params` of a VAE know of it. Hashable and static.

    Attributes:
        config: the sizes, which `encode` and its siblings take.
        layout: where rows lie on a mesh, or None.
    """

    config: WanVAEConfig
    layout: Layout | None = None

    name = "wan_vae"


def model_from_config(config: Mapping[str, Any]) -> WanVAEModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    return WanVAEModel(WanVAEConfig.from_dict(config))


def config_of(model: WanVAEModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    sizes = asdict(model.config)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}


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
    if name not in CONFIGS:
        raise ValueError(unknown_name("Wan VAE", name, CONFIGS))
    return WanVAEModel(CONFIGS[name])


def with_dtype(model: WanVAEModel, dtype: str) -> WanVAEModel:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, config=replace(model.config, dtype=dtype))
