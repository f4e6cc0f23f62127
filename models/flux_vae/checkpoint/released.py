"""Others' checkpoints: which files, which sizes, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.parts import options_beside
from ...checkpoints.released import activations, has_tensors
from ..model import FluxVAEModel
from ..network.config import FluxVAEConfig
from .name_map import naming_of, plan

_DIFFUSERS = "AutoencoderKL"
# Options of diffusers' of which this implementation has one value only.
_FIXED = {
    "act_fn": "silu",
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "mid_block_add_attention": True,
}


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint that holds an autoencoder of FLUX's.

    Args:
        path: a folder ``vae`` of diffusers, with its ``config.json``; or the original's
            single file, ``ae.safetensors``.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    path = as_path(path)
    if not has_tensors(path):
        return None
    shards = Shards(path)
    naming = naming_of(shards.headers)
    if naming is None:
        return None
    options = options_beside(path, "vae")
    if naming == "diffusers" and options.get("_class_name") != _DIFFUSERS:
        return None
    told = options.get("_class_name") == _DIFFUSERS
    try:
        if told:
            config = config_of_options(options)
        else:
            config = config_of_tensors(shards.headers)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has an autoencoder of pictures, whose sizes cannot be told: {said}"
        ) from error
    model = FluxVAEModel(replace(config, dtype=activations(shards.headers.values())))
    return StreamedCheckpoint(model, shards, plan(config, naming))


def open_part(path: Path) -> StreamedCheckpoint | None:
    """See `open_checkpoint`."""
    return open_checkpoint(path)


def config_of_options(options: Mapping[str, Any]) -> FluxVAEConfig:
    """The sizes in diffusers' configuration.

    Args:
        options: of its ``config.json``.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
    """
    for name, wanted in _FIXED.items():
        if options.get(name, wanted) != wanted:
            raise ValueError(
                f"{name} must be {wanted!r}, the only value that is implemented; got "
                f"{options[name]!r}"
            )
    known = {field.name for field in fields(FluxVAEConfig)} - {"dtype"}
    given = {n: x for n, x in options.items() if n in known and x is not None}
    given.setdefault("shift_factor", 0.0)
    return FluxVAEConfig.from_dict(given)


def config_of_tensors(headers: Mapping[str, Any]) -> FluxVAEConfig:
    """The sizes that the tensors' shapes tell, under the original's names.

    Groups, shift and scale are the release's, for no shape tells them.

    Args:
        headers: by name.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: for sizes that none can have.
        KeyError: if a tensor is not there.
    """

    def width(level: int) -> int:
        return headers[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]

    found = [n.split(".")[2] for n in headers if n.startswith("encoder.down.")]
    levels = 1 + max(map(int, found))
    blocks = {n.split(".")[4] for n in headers if n.startswith("encoder.down.0.block.")}
    return FluxVAEConfig(
        block_out_channels=tuple(width(i) for i in range(levels)),
        layers_per_block=len(blocks),
        latent_channels=headers["decoder.conv_in.weight"].shape[1],
        in_channels=headers["encoder.conv_in.weight"].shape[1],
    )
