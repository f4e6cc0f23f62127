"""What a folder of Wan's is: which transformers lie where, and what else it tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.errors import unknown_name

from .scheduler import Scheduler, read_scheduler

INDEX = "model_index.json"
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
"""Those of diffusers that are implemented."""

EXPERTS: tuple[str, ...] = ("high", "low")
DIFFUSERS_EXPERTS = ("transformer", "transformer_2")
"""Folders of both; of one transformer alone, the first."""

_ORIGINAL = ("high_noise_model", "low_noise_model")


class Layout(NamedTuple):
    """Where the transformers are.

    Attributes:
        transformers: folders, or a file, by the expert's name; of one alone, whose
            weights have no name before them, ``""``.
        is_certain: whether the folder says that it is Wan's.
        boundary_ratio: of the experts, where it is told.
        times_by_token: whether timesteps differ by token, as in TI2V, where it is told.
        scheduler: what a pipeline steps with; None without one.
        stride: rows and columns of a latent in pixels, where the VAE's folder tells it.
        hint: what the folder is called, in small letters; of a snapshot in the cache of
            Hugging Face's hub, what is called so is its repository.
    """

    transformers: Mapping[str, Path]
    is_certain: bool
    boundary_ratio: float | None = None
    times_by_token: bool = False
    scheduler: Scheduler | None = None
    stride: int | None = None
    hint: str = ""


def layout_of(path: Path) -> Layout | None:
    """Finds the transformers of a folder, or takes a file for one.

    Args:
        path: see `open_checkpoint`.

    Returns:
        The layout; None if it is of something else.

    Raises:
        FileNotFoundError: if an expert is missing.
        ValueError: for a pipeline that is not implemented.
    """
    hint = _called(path.resolve())
    if path.is_dir() and (path / INDEX).is_file():
        return _of_pipeline(path, read_json(path / INDEX), hint)
    there = [name for name in _ORIGINAL if (path / name).is_dir()]
    if there:
        if len(there) == 1:
            raise FileNotFoundError(_lacking(path, _ORIGINAL, there))
        folders = dict(zip(EXPERTS, (path / n for n in _ORIGINAL), strict=True))
        return Layout(folders, True, hint=hint)
    return Layout({"": path}, False, hint=hint)


def _called(path: Path) -> str:
    """A folder's name; a snapshot's is a hash, beneath a folder of the repository's."""
    *_, repository, among, name = ("", "", *path.parts)
    return (repository if among == "snapshots" else name).lower()


def _of_pipeline(path: Path, index: Any, hint: str) -> Layout | None:
    """The layout of diffusers' folder; None if it is another model's."""
    name = index.get("_class_name", "") if isinstance(index, dict) else ""
    if not str(name).startswith("Wan"):
        return None
    if name not in PIPELINES:
        raise ValueError(f"{path / INDEX}: {unknown_name('pipeline', name, PIPELINES)}")
    # Null stands for what a pipeline goes without.
    listed = [n for n in DIFFUSERS_EXPERTS if (index.get(n) or [None])[0] is not None]
    boundary = index.get("boundary_ratio")
    there = [n for n in listed if (path / n).is_dir()]
    if (boundary is not None and len(there) != 2) or len(there) < len(listed):
        wanted = DIFFUSERS_EXPERTS if boundary is not None else tuple(listed)
        raise FileNotFoundError(_lacking(path, wanted, there))
    if not there:
        raise FileNotFoundError(f"{path / INDEX} lists no transformer")
    two = len(there) == 2
    folders = {EXPERTS[i] if two else "": path / n for i, n in enumerate(there)}
    return Layout(
        folders,
        True,
        boundary_ratio=boundary,
        times_by_token=bool(index.get("expand_timesteps", False)),
        scheduler=read_scheduler(path),
        stride=_stride(path / "vae" / "config.json"),
        hint=hint,
    )


def _lacking(path: Path, wanted: tuple[str, ...], there: list[str]) -> str:
    gone = [name for name in wanted if name not in there]
    if len(wanted) == 2:
        which = dict(zip(wanted, EXPERTS, strict=True))
        gone = [f"{name}, the {which[name]}-noise expert" for name in gone]
    return f"{path} lacks {' and '.join(gone)}"


def _stride(file: Path) -> int | None:
    """Pixels of a latent, as diffusers' VAE says."""
    if not file.is_file():
        return None
    found = read_json(file)
    said = found.get("scale_factor_spatial") if isinstance(found, dict) else None
    return said if isinstance(said, int) else None


def read_json(file: Path) -> Any:
    """What a file of JSON says.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
