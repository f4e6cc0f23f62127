"""Others' checkpoints: which files, which sizes, which tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.parts import (
    has_others,
    layers_of,
    options_beside,
    passed_over,
    prefix_of,
    under,
)
from ...checkpoints.released import activations, has_tensors
from ..model import CLIPVisionModel
from ..network.config import CLIPVisionConfig
from ..network.published import CONFIGS
from .name_map import PREFIX, TRANSFORMERS, plan, without_use

PART = "image_encoder"
# What names begin with in DreamZero's checkpoint, in a state dict of its wrapper, and
# in the files that Wan releases.
PREFIXES = (f"action_head.{PART}.{PREFIX}", PREFIX, "visual.")
_ORIGINAL = "cls_embedding"
_TRANSFORMERS = "embeddings.class_embedding"
# The number of heads, which shapes do not tell, in configurations of several kinds.
_HEADS = ("num_heads", "num_attention_heads", "vision_heads")


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint that holds an image encoder and nothing else.

    Args:
        path: a folder ``image_encoder`` of diffusers or transformers, or a safetensors
            file or a folder of such files with the tensors under the original's names,
            with or without their prefixes.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    found = open_part(path)
    if found is None or has_others(found.shards.headers, PART):
        return None
    return found


def open_part(path: Path) -> StreamedCheckpoint | None:
    """Opens the image encoder of a checkpoint that may hold other networks, too.

    Args:
        path: as in `open_checkpoint`, or DreamZero's released folder.

    Returns:
        The checkpoint, or None if there is none in it.

    Raises:
        FileNotFoundError: as `open_checkpoint`.
        ValueError: as `open_checkpoint`.
    """
    path = as_path(path)
    if not has_tensors(path):
        return None
    shards = Shards(path)
    names = shards.headers
    prefix = prefix_of(names, _ORIGINAL, PREFIXES)
    transformers = prefix is None
    if prefix is None and TRANSFORMERS + _TRANSFORMERS in names:
        prefix = TRANSFORMERS
    if prefix is None:
        return None
    options = options_beside(path, PART)
    ours = under(names, prefix)
    try:
        read = config_of_options if transformers else config_of_tensors
        config = read(options.get("vision_config", options), ours)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has tensors of a CLIP image encoder, whose sizes cannot be told: "
            f"{said}"
        ) from error
    others = (*without_use(config, prefix), *passed_over(names, prefix))
    model = CLIPVisionModel(replace(config, dtype=activations(ours.values())))
    recipes = plan(config, prefix, transformers=transformers)
    return StreamedCheckpoint(model, shards, recipes, others)


def config_of_tensors(
    options: Mapping[str, Any], headers: Mapping[str, TensorHeader]
) -> CLIPVisionConfig:
    """The sizes that the tensors' shapes tell, under the original's names.

    Of a released width all blocks are wanted, whatever is there.

    Args:
        options: what a ``config.json`` says: how many heads there are, and ``eps``.
        headers: by name, without prefix.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if they are of no encoder, or the number of heads is not known.
        KeyError: if a tensor is not there.
        IndexError: if one has another number of axes.
    """
    dim, _, patch, _ = headers["patch_embedding.weight"].shape
    heads = next((options[name] for name in _HEADS if name in options), None)
    for config in CONFIGS.values():
        if heads is None and dim == config.dim:
            return replace(config, dtype="float32")
    if heads is None:
        raise ValueError(
            f"shapes do not tell the number of heads; of {dim} channels, put a "
            "config.json with num_heads beside it"
        )
    tokens = headers["pos_embedding"].shape[1]
    return CLIPVisionConfig(
        image_size=math.isqrt(tokens - 1) * patch,
        patch_size=patch,
        dim=dim,
        mlp_ratio=headers["transformer.0.mlp.0.weight"].shape[0] / dim,
        num_heads=heads,
        num_layers=layers_of(headers, "transformer."),
        out_dim=headers["head"].shape[1] if "head" in headers else dim,
        eps=options.get("eps", CLIPVisionConfig.eps),
    )


def config_of_options(
    options: Mapping[str, Any], headers: Mapping[str, TensorHeader]
) -> CLIPVisionConfig:
    """The sizes in transformers' configuration.

    Args:
        options: of its ``config.json``, the picture's part.
        headers: by name; what they tell is told by the options, too.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
        KeyError: if a size is not there.
    """
    del headers
    if options.get("hidden_act", "gelu") != "gelu":
        raise ValueError(
            "hidden_act must be 'gelu', the only one that is implemented; got "
            f"{options['hidden_act']!r}"
        )
    return CLIPVisionConfig(
        image_size=options["image_size"],
        patch_size=options["patch_size"],
        dim=options["hidden_size"],
        mlp_ratio=options["intermediate_size"] / options["hidden_size"],
        num_heads=options["num_attention_heads"],
        num_layers=options["num_hidden_layers"],
        out_dim=options.get("projection_dim", CLIPVisionConfig.out_dim),
        eps=options.get("layer_norm_eps", CLIPVisionConfig.eps),
    )
