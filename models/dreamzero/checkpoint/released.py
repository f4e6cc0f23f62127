"""The original's checkpoints: which files, which options, which tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from ...checkpoints.released import activations, has_tensors
from ..model import DreamZeroModel
from ..network.config import DreamZeroConfig
from ..network.published import CONFIGS
from .name_map import plan, state_dict_shapes

PREFIX = "action_head.model."
# Networks that travel in the same files, and are not the transformer.
OTHERS = (
    "action_head.text_encoder.",
    "action_head.image_encoder.",
    "action_head.vae.",
)
_FIRST = "patch_embedding.weight"
# Of Wan's own transformer it has all tensors, and these.
_TELLING = "action_encoder.W1.W"
# Options that the original keeps one level above those of its transformer. Others there
# have names of the transformer's and another meaning, `hidden_size` for one.
_ABOVE = (
    "action_dim",
    "max_state_dim",
    "num_frame_per_block",
    "num_action_per_block",
    "num_state_per_block",
)


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint of the original, if it is one.

    Sizes come from the ``config.json`` in the folder or beside the file; without one
    they are those published of which it has the shapes.

    Args:
        path: a folder of safetensors files with their index, or one such file, with
            the transformer's tensors under their original names, with or without the
            prefix ``action_head.model.``.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    path = as_path(path)
    file = path / "config.json" if path.is_dir() else path.with_name("config.json")
    options = _options(file)
    if options is None and not has_tensors(path):
        return None
    shards = Shards(path)
    headers = shards.headers
    prefix = PREFIX if any(name.startswith(PREFIX) for name in headers) else ""
    if options is None and prefix + _TELLING not in headers:
        return None
    if options is None:
        model = _published(headers, prefix, path)
    else:
        model = _model(options, file)
    ours = [header for name, header in headers.items() if name.startswith(prefix)]
    return StreamedCheckpoint(
        with_dtype(model, activations(ours)),
        shards,
        plan(model.dit, prefix),
        OTHERS if prefix else (),
    )


def named_model(name: str) -> DreamZeroModel:
    """The model of a published size.

    Args:
        name: ``"droid-14b"`` or ``"wan22-5b"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in CONFIGS:
        raise ValueError(unknown_name("DreamZero configuration", name, CONFIGS))
    return DreamZeroModel(*CONFIGS[name])


def with_dtype(model: DreamZeroModel, dtype: str) -> DreamZeroModel:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, dit=replace(model.dit, dtype=dtype))


def _options(file: Path) -> Mapping[str, Any] | None:
    """The action head's part of a ``config.json``; None if there is no such thing."""
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    try:
        options = config["action_head_cfg"]["config"]
        transformer = options["diffusion_model_cfg"]
    except (KeyError, TypeError):
        return None
    merged = {name: options[name] for name in _ABOVE if name in options} | transformer
    return {"dit": merged, "latent_size": config.get("latent_size")}


def _model(options: Mapping[str, Any], file: Path) -> DreamZeroModel:
    """The model of a configuration file."""
    try:
        dit = DreamZeroConfig.from_dict(options["dit"])
        size = options["latent_size"]
        return DreamZeroModel(dit, _latent_size(dit) if size is None else tuple(size))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error


def _latent_size(dit: DreamZeroConfig) -> tuple[int, int]:
    """Rows and columns of a latent frame: as published, or as square as can be."""
    for size in CONFIGS.values():
        if size.dit.frame_seqlen == dit.frame_seqlen:
            return size.latent_size
    tokens = dit.frame_seqlen
    rows = max(n for n in range(1, int(tokens**0.5) + 1) if tokens % n == 0)
    _, height, width = dit.patch_size
    return rows * height, tokens // rows * width


def _published(
    headers: Mapping[str, TensorHeader], prefix: str, path: Path
) -> DreamZeroModel:
    """The published model whose first and last tensors have these shapes."""
    for name, (dit, _) in CONFIGS.items():
        shapes = state_dict_shapes(dit)
        if all(
            prefix + tensor in headers
            and headers[prefix + tensor].shape == shapes[tensor]
            for tensor in _telling(dit)
        ):
            return named_model(name)
    raise ValueError(
        f"{path} has a transformer of a size that is none of {sorted(CONFIGS)}: put "
        "its config.json beside it"
    )


def _telling(dit: DreamZeroConfig) -> Iterable[str]:
    """Tensors whose names and shapes tell the sizes apart."""
    return (_FIRST, f"blocks.{dit.num_layers - 1}.ffn.0.weight")
