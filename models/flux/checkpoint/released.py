"""Others' checkpoints: which folders, which sizes, which tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import Recipe, StreamedCheckpoint
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from ...checkpoints.parts import layers_of, options_beside, under
from ...checkpoints.released import activations, has_tensors
from ..model import FluxModel, model_of
from ..sizes import RELEASES, FluxConfig, FluxRelease
from .name_map import NAMINGS, naming_of, plan

INDEX = "model_index.json"
PIPELINES = ("FluxPipeline", "FluxImg2ImgPipeline")
"""Those of diffusers that are implemented."""

DIFFUSERS = "FluxTransformer2DModel"
# What names begin with: in the original's files, and in ComfyUI's.
_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint with a transformer of FLUX's.

    Args:
        path: a folder of diffusers' pipeline, with ``model_index.json``; its folder
            ``transformer`` alone; or a safetensors file, or a folder of one, with the
            tensors under diffusers' or the original's names.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, if the sizes are unknown or impossible, or
            for a pipeline of FLUX's that is not implemented.
    """
    path = as_path(path)
    inside = path
    if path.is_dir() and (path / INDEX).is_file():
        name = _read(path / INDEX).get("_class_name", "")
        if not str(name).startswith("Flux"):
            return None
        if name not in PIPELINES:
            said = unknown_name("pipeline", name, PIPELINES)
            raise ValueError(f"{path / INDEX}: {said}")
        inside = path / "transformer"
        if not inside.is_dir():
            raise FileNotFoundError(f"{path} lacks transformer, which its index lists")
    options = options_beside(inside, "transformer")
    told = options.get("_class_name") == DIFFUSERS
    if not has_tensors(inside):
        return None
    shards = Shards(inside)
    for prefix in _PREFIXES:
        ours = under(shards.headers, prefix) if prefix else dict(shards.headers)
        naming = naming_of(ours)
        if naming is None and told and not prefix:
            naming = "diffusers"  # Its tensors are told one by one, as missing.
        if naming is None or not _is_flux(ours, naming, told):
            continue
        config = _config(inside, options if told else {}, ours, naming)
        config = replace(config, dtype=activations(ours.values()))
        model = model_of(_release(config, path))
        return StreamedCheckpoint(model, shards, plan(config, naming, prefix))
    return None


def open_part(path: Path) -> StreamedCheckpoint | None:
    """Opens the transformer, of a folder or a file that holds it alone."""
    return open_checkpoint(path)


def named_model(name: str) -> FluxModel:
    """The model of a release.

    Args:
        name: ``"flux.1-dev"`` or ``"flux.1-schnell"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in RELEASES:
        raise ValueError(unknown_name("release of FLUX", name, RELEASES))
    return model_of(RELEASES[name])


def tensor_plans(model: FluxModel, component: str) -> tuple[dict[str, Recipe], ...]:
    """How tensors become weights, once for each way of naming them.

    Args:
        model: the model.
        component: ``"transformer"``.

    Returns:
        By diffusers' names, and by the original's.
    """
    del component
    return tuple(plan(model.transformer, naming) for naming in NAMINGS)


def config_of_tensors(
    headers: Mapping[str, TensorHeader], options: Mapping[str, Any]
) -> FluxConfig:
    """The sizes that the tensors' shapes tell, under the original's names.

    Args:
        headers: by name, without prefix.
        options: ``axes_dims_rope``, which shapes do not tell, of other heads than the
            released ones.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: for sizes that none can have, or axes that nobody tells.
        KeyError: if a tensor is not there.
    """
    dim, channels = headers["img_in.weight"].shape
    head = headers["double_blocks.0.img_attn.norm.query_norm.scale"].shape[0]
    axes = options.get("axes_dims_rope", FluxConfig.axes_dims_rope)
    if sum(axes) != head:
        raise ValueError(
            f"shapes do not tell how many of a head's {head} channels each axis has; "
            "put a config.json with axes_dims_rope beside it"
        )
    return FluxConfig(
        in_channels=channels,
        num_layers=layers_of(headers, "double_blocks."),
        num_single_layers=layers_of(headers, "single_blocks."),
        attention_head_dim=head,
        num_attention_heads=dim // head,
        joint_attention_dim=headers["txt_in.weight"].shape[1],
        pooled_projection_dim=headers["vector_in.in_layer.weight"].shape[1],
        guidance_embeds="guidance_in.in_layer.weight" in headers,
        axes_dims_rope=tuple(axes),
        mlp_ratio=headers["double_blocks.0.img_mlp.0.weight"].shape[0] / dim,
        freq_dim=headers["time_in.in_layer.weight"].shape[1],
    )


def _is_flux(headers: Mapping[str, Any], naming: str, told: bool) -> bool:
    """Other transformers have an embedder of that name, too."""
    single = "single_blocks." if naming == "original" else "single_transformer_blocks."
    return told or any(name.startswith(single) for name in headers)


def _config(
    path: Path, options: Mapping[str, Any], headers: Mapping[str, Any], naming: str
) -> FluxConfig:
    try:
        if options:
            return FluxConfig.from_dict(options)
        if naming == "diffusers":
            raise ValueError(
                "diffusers' config.json, which tells the sizes, is not beside it"
            )
        return config_of_tensors(headers, options_beside(path, "transformer"))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has a transformer of FLUX's, whose sizes cannot be told: {said}"
        ) from error


def _release(config: FluxConfig, path: Path) -> FluxRelease:
    """The release of such a transformer, where the folder does not say otherwise."""
    name = "flux.1-dev" if config.guidance_embeds else "flux.1-schnell"
    release = RELEASES[name]
    same = {"dtype": "float32", "attention": None, "unroll": 1}
    if replace(release.transformer, **same) != replace(config, **same):
        release = replace(release, name="")
    release = replace(release, transformer=config)
    file = path / "scheduler" / "scheduler_config.json"
    if path.is_dir() and file.is_file():
        shifted = bool(_read(file).get("use_dynamic_shifting", False))
        release = replace(release, shifted=shifted)
    return release


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}
