"""The names that the original's checkpoints, and diffusers', have for our weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import flat, nested

from ...checkpoints.name_map import imported, recipes, source_shapes, way_of
from ...checkpoints.tensors import Table, Tensor, channels, convolution, patches, same
from ...sizes.parameters import Weights
from ..network.config import WanVAEConfig
from ..network.parameters import weight_shapes


def _original(config: WanVAEConfig, path: list[str]) -> str:
    """The original's name of a module."""
    first, *rest = path
    if not rest:
        return first  # conv1 and conv2, which stand beside encoder and decoder
    side = "downsamples" if first == "encoder" else "upsamples"
    match rest:
        case ["conv_in"]:
            within = "conv1"
        case ["head", kind]:
            within = {"norm": "head.0", "conv": "head.2"}[kind]
        case ["middle", "attention", kind]:
            within = f"middle.1.{kind}"
        case ["middle", block, kind]:
            within = f"middle.{2 * _index(block)}.{_RESIDUAL[kind]}"
        case [level, part, kind]:
            where = _index(level), _place(config, first, part)
            if config.residual:
                within = f"{side}.{where[0]}.{side}.{where[1]}"
            else:
                within = f"{side}.{where[0] * _parts(config, first) + where[1]}"
            within += "." + (_RESIDUAL | _RESAMPLE)[_kind(part, kind)]
        case _:
            raise ValueError(f"no module {path}")
    return f"{first}.{within}"


def _diffusers(config: WanVAEConfig, path: list[str]) -> str:
    """The name that diffusers' `AutoencoderKLWan` has for a module."""
    first, *rest = path
    if not rest:
        return {"conv1": "quant_conv", "conv2": "post_quant_conv"}[first]
    match rest:
        case ["conv_in"]:
            within = "conv_in"
        case ["head", kind]:
            within = f"{kind}_out"
        case ["middle", "attention", kind]:
            within = f"mid_block.attentions.0.{kind}"
        case ["middle", block, kind]:
            within = f"mid_block.resnets.{_index(block)}.{_renamed(kind)}"
        case [level, part, kind]:
            i, j = _index(level), _place(config, first, part)
            resampled = part in ("down", "up")
            if first == "decoder":
                block = f"up_blocks.{i}"
                sampler = "upsampler" if config.residual else "upsamplers.0"
            else:
                block, sampler = f"down_blocks.{i}", "downsampler"
            if first == "encoder" and not config.residual:
                within = f"down_blocks.{i * _parts(config, first) + j}"
            else:
                within = f"{block}.{sampler if resampled else f'resnets.{j}'}"
            within += "." + _renamed(_kind(part, kind))
        case _:
            raise ValueError(f"no module {path}")
    return f"{first}.{within}"


_RESAMPLE = {"resample": "resample.1", "time_conv": "time_conv"}
_RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "shortcut": "shortcut",
}

Naming = Callable[[WanVAEConfig, list[str]], str]
NAMINGS: Mapping[str, Naming] = MappingProxyType(
    {"original": _original, "diffusers": _diffusers}
)
"""Who names tensors, and how."""


def state_dict_shapes(
    config: WanVAEConfig, naming: str = "original"
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a checkpoint.

    Args:
        config: the VAE's.
        naming: ``"original"`` or ``"diffusers"``.

    Returns:
        Shapes by name, without a prefix (``action_head.vae.model.`` in DreamZero's).

    Raises:
        ValueError: for another naming.
    """
    return source_shapes(plan(config, naming))


def plan(
    config: WanVAEConfig, naming: str = "original", prefix: str = ""
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights, for one that is streamed.

    Args:
        config: the VAE's.
        naming: ``"original"`` or ``"diffusers"``.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.

    Raises:
        ValueError: for another naming.
    """
    structs = weight_shapes(config)
    table = _table(config, structs, way_of(naming, NAMINGS))
    return recipes(table, structs, prefix)


def import_state_dict(
    config: WanVAEConfig, tensors: Mapping[str, np.ndarray], naming: str = "original"
) -> Weights:
    """Renames and transposes the tensors of a PyTorch state dict.

    Args:
        config: the VAE's.
        tensors: by name, without a prefix.
        naming: ``"original"`` or ``"diffusers"``.

    Returns:
        Weights as `bind` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, unknown or misshapen.
    """
    return imported(plan(config, naming), tensors)


def _table(config: WanVAEConfig, structs: Any, named: Naming) -> Table:
    """For every weight of ours the tensor that it comes from."""

    def source(name: str, struct: jax.ShapeDtypeStruct) -> Tensor:
        *path, leaf = name.split(".")
        module = named(config, path)
        if leaf == "scale":
            places = 2 if "attention" in path else 3
            return channels(f"{module}.gamma", places)
        if leaf == "bias":
            return same(f"{module}.bias")
        if struct.ndim > 2:
            return convolution(f"{module}.weight")
        places = 2 if "attention" in path else 3
        return patches(f"{module}.weight", (struct.shape[0], *(1,) * places))

    flat_structs = flat(structs)
    return nested(
        {name: source(name, struct) for name, struct in flat_structs.items()},
        "the VAE's names",
    )


def _index(name: str) -> int:
    """The number behind a name."""
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))


def _parts(config: WanVAEConfig, coder: str) -> int:
    """Parts of a level: the residual blocks and what follows them."""
    return config.num_res_blocks + (1 if coder == "encoder" else 2)


def _place(config: WanVAEConfig, coder: str, part: str) -> int:
    """Where in its level a part stands."""
    if part in ("down", "up"):
        return _parts(config, coder) - 1
    return _index(part)


def _kind(part: str, kind: str) -> str:
    """What a convolution of a level is."""
    return "resample" if part in ("down", "up") and kind == "conv" else kind


def _renamed(kind: str) -> str:
    return {"resample": "resample.1", "shortcut": "conv_shortcut"}.get(kind, kind)
