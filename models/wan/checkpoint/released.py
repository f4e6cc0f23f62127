"""Others' checkpoints: which folders, which sizes, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.checkpoints.joined import JoinedShards
from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import Recipe, StreamedCheckpoint
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from ...checkpoints.parts import options_beside, under
from ...checkpoints.released import activations, has_tensors
from ..configuration import with_dtype
from ..model import WanModel, model_of
from ..sizes import RELEASES, WanConfig
from .configuration import (
    DIFFUSERS,
    ORIGINAL,
    config_of_diffusers,
    config_of_original,
    config_of_tensors,
    same_sizes,
)
from .folder import DIFFUSERS_EXPERTS, INDEX, Layout, layout_of
from .name_map import NAMINGS, naming_of, plan
from .release import release_of

# What names begin with: in files of single transformers, and in ComfyUI's.
PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.")


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint with one transformer of Wan's, or with both experts.

    Args:
        path: a folder of diffusers' pipeline, with ``model_index.json``; the original's
            folder, with ``high_noise_model`` and ``low_noise_model`` in it or one
            transformer; a folder ``transformer`` or ``transformer_2`` alone; or a
            safetensors file with the tensors under diffusers' or the original's names,
            with ComfyUI's prefixes or without.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing, one of two experts among them.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    path = as_path(path)
    layout = layout_of(path)
    if layout is None:
        return None
    parts = {name: _opened(folder) for name, folder in layout.transformers.items()}
    if any(part is None for part in parts.values()):
        if not layout.is_certain:
            return None
        lacking = [str(layout.transformers[n]) for n, p in parts.items() if p is None]
        raise ValueError(f"{', '.join(lacking)} has no transformer of a known layout")
    found = {name: part for name, part in parts.items() if part is not None}
    return _checkpoint(path, layout, found)


def open_part(path: Path) -> StreamedCheckpoint | None:
    """Opens one transformer, of a folder or a file that holds it alone."""
    # A pipeline's lies in a folder of its own, or is not there.
    return None if (as_path(path) / INDEX).is_file() else open_checkpoint(path)


def named_model(name: str) -> WanModel:
    """The model of a release.

    Args:
        name: such as ``"wan2.1-t2v-1.3b"``, see `RELEASES`.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in RELEASES:
        raise ValueError(unknown_name("release of Wan", name, RELEASES))
    return model_of(RELEASES[name])


def tensor_plans(model: WanModel, component: str) -> tuple[dict[str, Recipe], ...]:
    """How tensors become weights, once for each way of naming them.

    Args:
        model: of one transformer, or of two.
        component: of two, which: ``"transformer"`` is the high-noise expert,
            ``"transformer_2"`` the other.

    Returns:
        By diffusers' names, and by the original's.
    """
    names = model.experts.names
    before = f"{names[DIFFUSERS_EXPERTS.index(component)]}." if names else ""
    return tuple(
        {before + name: recipe for name, recipe in one.items()}
        for one in (plan(model.transformer, naming) for naming in NAMINGS)
    )


class _Part(NamedTuple):
    """One transformer's files.

    Attributes:
        shards: the files.
        config: its sizes, with the tensors' dtype.
        naming: who named the tensors.
        prefix: what their names begin with.
    """

    shards: Shards
    config: WanConfig
    naming: str
    prefix: str


def _opened(path: Path) -> _Part | None:
    """One transformer's files; None if there is none of Wan's."""
    options = options_beside(path, "transformer")
    kind = options.get("_class_name")
    told = kind in (DIFFUSERS, ORIGINAL)
    if not told and not has_tensors(path):
        return None
    shards = Shards(path)
    for prefix in PREFIXES:
        ours = under(shards.headers, prefix) if prefix else shards.headers
        naming = naming_of(ours)
        if naming is not None and not _is_of_robots(ours):
            config = _config(path, options if told else {}, ours, naming)
            dtype = activations(ours.values())
            return _Part(shards, replace(config, dtype=dtype), naming, prefix)
    if told:
        # Its tensors are told one by one, as missing and extra.
        naming = "diffusers" if kind == DIFFUSERS else "original"
        config = _config(path, options, shards.headers, naming)
        return _Part(shards, config, naming, "")
    return None


def _is_of_robots(headers: Mapping[str, TensorHeader]) -> bool:
    """Whether it is DreamZero's transformer, which has Wan's tensors and more."""
    return "action_encoder.W1.W" in headers


def _config(
    path: Path,
    options: Mapping[str, Any],
    headers: Mapping[str, TensorHeader],
    naming: str,
) -> WanConfig:
    try:
        if options.get("_class_name") == DIFFUSERS:
            return config_of_diffusers(options)
        if options:
            return config_of_original(options, headers)
        if naming == "diffusers":
            raise ValueError(
                "diffusers' config.json, which tells the sizes, is not beside it"
            )
        return config_of_tensors(headers)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has a transformer of Wan's, whose sizes cannot be told: {said}"
        ) from error


def _checkpoint(
    path: Path, layout: Layout, parts: Mapping[str, _Part]
) -> StreamedCheckpoint:
    first, *others = parts.values()
    for other in others:
        if not same_sizes(first.config, other.config):
            raise ValueError(
                f"{path} has experts of two sizes: {first.config} and {other.config}"
            )
    release = release_of(first.config, layout)
    model = model_of(release)
    model = with_dtype(model, first.config.dtype)
    if not others:
        plans = plan(first.config, first.naming, first.prefix)
        return StreamedCheckpoint(model, first.shards, plans)
    folders = {name: f"{layout.transformers[name].name}/" for name in parts}
    shards = JoinedShards(
        path, {folders[name]: part.shards for name, part in parts.items()}
    )
    both: dict[str, Recipe] = {}
    for name, part in parts.items():
        prefix = folders[name] + part.prefix
        one = plan(part.config, part.naming, prefix)
        both |= {f"{name}.{weight}": recipe for weight, recipe in one.items()}
    return StreamedCheckpoint(model, shards, both)
