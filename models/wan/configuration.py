"""The model as JSON, its weights as shapes, and with activations of another dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from jax_stepcache.errors import unknown_name

from .model import WanModel
from .network.parameters import weight_shapes
from .sizes import WanConfig, WanRelease


def model_from_config(config: Mapping[str, Any]) -> WanModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    known = {"release", "latent_size"}
    for name in config:
        if name not in known:
            raise ValueError(unknown_name("Wan config", name, known))
    release = dict(config["release"])
    transformer = WanConfig.from_dict(release.pop("transformer"))
    for name in ("stride", "size"):
        release[name] = tuple(release[name])
    made = WanRelease(transformer, **release)
    return WanModel(made, tuple(config["latent_size"]))


def config_of(model: WanModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    release = asdict(model.release)
    for how_it_is_run in ("unroll", "attention"):
        del release["transformer"][how_it_is_run]
    return {"release": release, "latent_size": list(model.latent_size)}


def weights_struct(model: WanModel) -> Any:
    """Shapes and dtypes (float32) of the weights, of an expert alone its own."""
    shapes = weight_shapes(model.transformer)
    names = model.experts.names if model.alone is None else (model.alone,)
    return dict.fromkeys(names, shapes) if names else shapes


def axis_sizes(model: WanModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.transformer.num_attention_heads}


def with_dtype(model: WanModel, name: str) -> WanModel:
    """The model with activations of another dtype."""
    transformer = replace(model.transformer, dtype=name)
    return replace(model, release=replace(model.release, transformer=transformer))
