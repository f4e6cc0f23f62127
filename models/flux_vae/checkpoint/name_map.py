"""The names that diffusers' checkpoints, and the original's, have for our weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import flat, nested
from jax_stepcache.errors import unknown_name

from ...checkpoints.name_map import imported, recipes, source_shapes
from ...checkpoints.tensors import Table, Tensor, convolution, patches, same, turned
from ...sizes.parameters import Weights
from ..network.config import FluxVAEConfig
from ..network.parameters import weight_shapes

_DIFFUSERS = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "norm": "group_norm",
    "shortcut": "conv_shortcut",
}
_ORIGINAL = {"o": "proj_out", "shortcut": "nin_shortcut"}


def _diffusers(config: FluxVAEConfig, path: list[str]) -> str:
    """The name that diffusers' `AutoencoderKL` has for a module."""
    del config
    coder, *rest = path
    side = "down" if coder == "encoder" else "up"
    match rest:
        case ["norm"]:
            within = "conv_norm_out"
        case [name]:
            within = name
        case ["middle", "attention", kind]:
            within = f"mid_block.attentions.0.{_DIFFUSERS[kind]}"
        case ["middle", block, kind]:
            renamed = _DIFFUSERS.get(kind, kind)
            within = f"mid_block.resnets.{_index(block)}.{renamed}"
        case [level, "resample"]:
            within = f"{side}_blocks.{_index(level)}.{side}samplers.0.conv"
        case [level, block, kind]:
            renamed = _DIFFUSERS.get(kind, kind)
            within = f"{side}_blocks.{_index(level)}.resnets.{_index(block)}.{renamed}"
        case _:
            raise ValueError(f"no module {path}")
    return f"{coder}.{within}"


def _original(config: FluxVAEConfig, path: list[str]) -> str:
    """The original's name of a module; it counts the decoder's levels backwards."""
    coder, *rest = path
    encodes = coder == "encoder"
    side = "down" if encodes else "up"

    def at(level: str) -> int:
        i = _index(level)
        return i if encodes else len(config.block_out_channels) - 1 - i

    match rest:
        case ["norm"]:
            within = "norm_out"
        case [name]:
            within = name
        case ["middle", "attention", kind]:
            within = f"mid.attn_1.{_ORIGINAL.get(kind, kind)}"
        case ["middle", block, kind]:
            within = f"mid.block_{_index(block) + 1}.{_ORIGINAL.get(kind, kind)}"
        case [level, "resample"]:
            within = f"{side}.{at(level)}.{side}sample.conv"
        case [level, block, kind]:
            renamed = _ORIGINAL.get(kind, kind)
            within = f"{side}.{at(level)}.block.{_index(block)}.{renamed}"
        case _:
            raise ValueError(f"no module {path}")
    return f"{coder}.{within}"


Naming = Callable[[FluxVAEConfig, list[str]], str]
NAMINGS: Mapping[str, Naming] = MappingProxyType(
    {"diffusers": _diffusers, "original": _original}
)
"""Who names tensors, and how."""

# Of each there is a tensor that only it has.
_TELLING = {
    "diffusers": "decoder.mid_block.resnets.0.conv1.weight",
    "original": "decoder.mid.block_1.conv1.weight",
}


def plan(
    config: FluxVAEConfig, naming: str = "diffusers", prefix: str = ""
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the autoencoder's.
        naming: ``"diffusers"`` or ``"original"``.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.

    Raises:
        ValueError: for another naming.
    """
    if naming not in NAMINGS:
        raise ValueError(unknown_name("naming", naming, NAMINGS))
    structs = weight_shapes(config)
    table: dict[str, Tensor] = {}
    for name, struct in flat(structs).items():
        *path, kind = name.split(".")
        table[name] = _tensor(NAMINGS[naming](config, path), kind, struct.shape, naming)
    return recipes(_as_table(table), structs, prefix)


def state_dict_shapes(
    config: FluxVAEConfig, naming: str = "diffusers"
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors, without a prefix."""
    return source_shapes(plan(config, naming))


def import_state_dict(config: FluxVAEConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames and transposes the tensors of a state dict.

    Args:
        config: the autoencoder's.
        tensors: arrays by diffusers' names or the original's, without prefix.

    Returns:
        Weights, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    naming = naming_of(tensors) or "diffusers"
    return imported(plan(config, naming), tensors)


def naming_of(names: Any) -> str | None:
    """Who named tensors, without prefix; None if it is no such autoencoder."""
    return next((who for who, name in _TELLING.items() if name in names), None)


def _tensor(module: str, kind: str, shape: tuple[int, ...], naming: str) -> Tensor:
    if kind != "kernel":
        return same(f"{module}.{'weight' if kind == 'scale' else kind}")
    source = f"{module}.weight"
    if len(shape) == 4:
        return convolution(source)
    # The original's affine maps are convolutions of one pixel; so are shortcuts.
    if naming == "original" or module.endswith("shortcut"):
        return patches(source, (shape[0], 1, 1))
    return turned(source)


def _as_table(named: Mapping[str, Tensor]) -> Table:
    return nested(named, "the name map")


def _index(name: str) -> int:
    """The number at the end of a module's name."""
    return int(name[-1])
