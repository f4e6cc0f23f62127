"""Others' checkpoints: which files, which sizes, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.parts import has_others, options_beside, passed_over, under
from ...checkpoints.released import activations, has_tensors
from ..model import WanVAEModel, with_dtype
from ..network.config import WanVAEConfig
from ..network.published import CONFIGS
from .name_map import plan, state_dict_shapes
from .sizes import config_of_tensors

# What the original's names begin with: in DreamZero's checkpoint, in a state dict of
# its wrapper, and in the files that Wan releases.
PREFIXES = ("action_head.vae.model.", "model.", "")
_ORIGINAL = ("encoder.conv1.weight", "decoder.head.2.weight")
_DIFFUSERS = ("encoder.conv_in.weight", "post_quant_conv.weight")
_CLASS = "AutoencoderKLWan"
# Of diffusers' options, ours; and those that say what cannot be otherwise here.
_OPTIONS = {
    "base_dim": "dim",
    "z_dim": "z_dim",
    "dim_mult": "dim_mult",
    "num_res_blocks": "num_res_blocks",
    "temperal_downsample": "temperal_downsample",
    "latents_mean": "latents_mean",
    "latents_std": "latents_std",
}


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint that holds a VAE and nothing else.

    Args:
        path: diffusers' folder ``vae``, or a safetensors file or a folder of such files
            with the tensors under the original's names, with or without the prefixes
            ``model.`` and ``action_head.vae.model.``.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    found = open_part(path)
    others = found is not None and has_others(found.shards.headers, "vae")
    return None if others else found


def open_part(path: Path) -> StreamedCheckpoint | None:
    """Opens the VAE of a checkpoint that may hold other networks, too.

    Args:
        path: as in `open_checkpoint`, or DreamZero's released folder.

    Returns:
        The checkpoint, or None if there is no VAE in it.

    Raises:
        FileNotFoundError: as `open_checkpoint`.
        ValueError: as `open_checkpoint`.
    """
    path = as_path(path)
    file = path / "config.json" if path.is_dir() else path.with_name("config.json")
    options = _of_a_vae(options_beside(path, "vae"))
    if options is None and not has_tensors(path):
        return None
    shards = Shards(path)
    headers = shards.headers
    if options is not None or all(name in headers for name in _DIFFUSERS):
        return _diffusers(shards, options, file)
    for prefix in PREFIXES:
        if all(prefix + name in headers for name in _ORIGINAL):
            return _original(shards, prefix)
    return None


def _original(shards: Shards, prefix: str) -> StreamedCheckpoint:
    """A VAE under the original's names, whose tensors tell its sizes."""
    ours = under(shards.headers, prefix)
    config = config_of_tensors({name: x.shape for name, x in ours.items()}, shards.path)
    others = passed_over(shards.headers, prefix)
    return _checkpoint(shards, config, "original", prefix, others, ours)


def _diffusers(
    shards: Shards, options: Mapping[str, Any] | None, file: Path
) -> StreamedCheckpoint:
    """A VAE under diffusers' names, of the sizes in ``config.json``."""
    if options is None:
        config = _published({name: x.shape for name, x in shards.headers.items()})
        if config is None:
            raise ValueError(
                f"{shards.path} has a VAE of a size that is none of {sorted(CONFIGS)}: "
                "put its config.json beside it"
            )
    else:
        try:
            config = config_of_options(options)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file}: {error}") from error
    return _checkpoint(shards, config, "diffusers", "", (), shards.headers)


def _checkpoint(
    shards: Shards,
    config: WanVAEConfig,
    naming: str,
    prefix: str,
    others: tuple[str, ...],
    headers: Mapping[str, TensorHeader],
) -> StreamedCheckpoint:
    model = with_dtype(WanVAEModel(config), activations(headers.values()))
    return StreamedCheckpoint(model, shards, plan(config, naming, prefix), others)


def config_of_options(options: Mapping[str, Any]) -> WanVAEConfig:
    """The sizes in diffusers' configuration of a VAE.

    Args:
        options: of its ``config.json``.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
        KeyError: if a size is not there.
    """
    given = {ours: options[theirs] for theirs, ours in _OPTIONS.items()}
    residual = bool(options.get("is_residual", False))
    width = options.get("decoder_base_dim") or options["base_dim"]
    if residual:
        given["dec_dim"] = width
    elif width != options["base_dim"]:
        raise ValueError(
            f"decoder_base_dim is {width}; without is_residual it must be base_dim, "
            f"{options['base_dim']}"
        )
    config = WanVAEConfig.from_dict(given)
    wanted = {
        "attn_scales": [],
        "patch_size": config.fold if residual else None,
        "in_channels": config.frame_channels,
        "out_channels": config.frame_channels,
    }
    for name, only in wanted.items():
        if options.get(name, only) not in (only, only or 1):
            raise ValueError(
                f"{name} must be {only!r}, the only value that is implemented; got "
                f"{options[name]!r}"
            )
    return config


def _of_a_vae(options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Diffusers' configuration of a VAE; None if it is of something else."""
    return options if options.get("_class_name") == _CLASS else None


def _published(shapes: Mapping[str, tuple[int, ...]]) -> WanVAEConfig | None:
    """The released size whose tensors these are."""
    for config in CONFIGS.values():
        wanted = state_dict_shapes(config, "diffusers")
        if all(shapes[name] == wanted.get(name) for name in _DIFFUSERS):
            return config
    return None
