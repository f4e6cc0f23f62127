"""The original's checkpoints: which file, which sizes, which tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.checkpoints.weights import require_fit
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from ...checkpoints.released import activations, has_tensors
from ..model import DiTModel
from ..network.config import DiTConfig
from ..network.published import CONFIGS, HEADS
from .name_map import POSITIONS, plan, position_faults

# Tensors whose shapes tell the sizes.
_PATCH = "x_embedder.proj.weight"
_LABELS = "y_embedder.embedding_table.weight"
_WIDE = "blocks.0.mlp.fc1.weight"
_LAST = "final_layer.linear.weight"
_TELLING = {_PATCH: 4, _LABELS: 2, _WIDE: 2, _LAST: 2, POSITIONS: 3}


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint of SiT, if it is one.

    The published ones are pickles, which this library never opens. PyTorch turns one
    into safetensors, once::

        import torch, safetensors.torch
        tensors = torch.load("SiT-XL-2-256x256.pt", weights_only=True)
        tensors = tensors.get("ema", tensors)  # of a checkpoint of its training
        safetensors.torch.save_file(tensors, "SiT-XL-2-256x256.safetensors")

    A checkpoint of the first DiT, which predicts noise over a thousand diffusion steps,
    has the same names and shapes and cannot be told from one of SiT; what its network
    says means something else.

    Args:
        path: a safetensors file with the tensors under their original names, or a
            folder with such files.

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
    headers = shards.headers
    if not {_PATCH, _LABELS} <= headers.keys():
        return None
    config = _config(headers, path)
    model = with_dtype(DiTModel(config), activations(headers.values()))
    ((_, positions),) = shards.read([POSITIONS])
    require_fit(str(path), position_faults(config, positions))
    return StreamedCheckpoint(model, shards, plan(config), (POSITIONS,))


def named_model(name: str) -> DiTModel:
    """The model of a published size.

    Args:
        name: ``"sit-s/2"`` to ``"sit-xl/8"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in CONFIGS:
        raise ValueError(unknown_name("DiT configuration", name, CONFIGS))
    return DiTModel(CONFIGS[name])


def with_dtype(model: DiTModel, dtype: str) -> DiTModel:
    """The model with activations of another dtype.

    Args:
        model: the model.
        dtype: the dtype's name.

    Returns:
        The model.
    """
    return replace(model, config=replace(model.config, dtype=dtype))


def _config(headers: Mapping[str, TensorHeader], path: Path) -> DiTConfig:
    """The sizes that the tensors' shapes tell."""
    untold = [
        name
        for name, axes in _TELLING.items()
        if name not in headers or len(headers[name].shape) != axes
    ]
    if untold:
        raise ValueError(
            f"{path} looks like a checkpoint of SiT, and its sizes cannot be told: "
            f"{', '.join(untold)} missing or misshapen"
        )
    shapes = {name: headers[name].shape for name in _TELLING}
    dim, channels, patch, _ = shapes[_PATCH]
    if dim not in HEADS:
        raise ValueError(
            f"{path} has a width of {dim}, and shapes do not tell the number of heads; "
            f"it is known for widths of {sorted(HEADS)}. For others read the file and "
            "give import_state_dict a DiTConfig"
        )
    blocks = {name.split(".")[1] for name in headers if name.startswith("blocks.")}
    try:
        return DiTConfig(
            input_size=math.isqrt(shapes[POSITIONS][1]) * patch,
            patch_size=patch,
            in_channels=channels,
            hidden_size=dim,
            depth=len(blocks),
            num_heads=HEADS[dim],
            mlp_ratio=shapes[_WIDE][0] / dim,
            num_classes=shapes[_LABELS][0] - 1,
            learn_sigma=shapes[_LAST][0] == 2 * channels * patch**2,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
