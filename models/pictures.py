"""Pictures as frames of a film, resized as the originals and diffusers do it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.paths import as_path

from .clip_vision.network.resize import taps

_MISSING = "pictures need Pillow: pip install 'jax-stepcache[film]'"


def as_picture(given: Any, what: str = "image") -> np.ndarray:
    """Reads a picture.

    Args:
        given: uint8 (H, W, 3); a picture of Pillow's; or the path of a file.
        what: its name, for errors.

    Returns:
        uint8 (H, W, 3).

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: without Pillow, for a file.
        ValueError: if it is no picture.
    """
    if isinstance(given, str | os.PathLike):
        given = _read(as_path(given, what), what)
    if hasattr(given, "convert"):
        given = given.convert("RGB")
    elif isinstance(given, list | tuple) and len(given):
        raise ValueError(
            f"{what} is a {type(given).__name__} of {len(given)}; give one picture: of "
            "several prompts it is that of all"
        )
    array = np.asarray(given)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        said = f"{array.dtype}{list(array.shape)}" if array.ndim else brief(given)
        raise ValueError(
            f"{what} is {said}; give uint8 (rows, columns, 3), a picture of Pillow's, "
            "or a file"
        )
    if 0 in array.shape:
        raise ValueError(f"{what} has shape {array.shape}: nothing to see")
    return array


def fit_picture(
    picture: np.ndarray, size: tuple[int, int], how: str = "stretched"
) -> np.ndarray:
    """Gives a picture the size of a film.

    Args:
        picture: uint8 (H, W, 3).
        size: rows and columns.
        how: one of `FITS`.

    Returns:
        float32 (3, rows, columns); within [-1, 1], but for a little that
        ``"bicubic"`` overshoots.

    Raises:
        ValueError: for another word.
        ImportError: without Pillow, except for ``"bicubic"``.
    """
    if how not in FITS:
        raise ValueError(unknown_name("way to fit pictures", how, FITS))
    return np.ascontiguousarray(np.moveaxis(FITS[how](picture, size), -1, 0))


def _stretched(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return _in_range(_lanczos(picture, size))


def _covered(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    scale = max(s / have for s, have in zip(size, picture.shape, strict=False))
    larger = tuple(round(have * scale) for have in picture.shape[:2])
    rows, columns = ((have - s) // 2 for have, s in zip(larger, size, strict=True))
    whole = _lanczos(picture, (larger[0], larger[1]))
    return _in_range(whole[rows : rows + size[0], columns : columns + size[1]])


def _bicubic(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        taps(have, s) for have, s in zip(picture.shape[:2], size, strict=True)
    )
    halfway = np.einsum("yh,hwc->ywc", rows, _in_range(picture), optimize=True)
    return np.einsum("ywc,xw->yxc", halfway, columns, optimize=True)


FITS: Mapping[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = (
    MappingProxyType(
        {"stretched": _stretched, "covered": _covered, "bicubic": _bicubic}
    )
)
"""How a picture becomes a frame: ``"stretched"``, by Lanczos of 8-bit numbers, as
diffusers has it; ``"covered"``, likewise with its aspect kept and what is too much cut
off both sides, as the original TI2V; ``"bicubic"``, stretched as floats without
antialiasing, as the other originals."""


def _lanczos(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(_MISSING) from error
    rows, columns = size
    lanczos = Image.Resampling.LANCZOS
    resized = Image.fromarray(picture).resize((columns, rows), lanczos)
    return np.asarray(resized)


def _in_range(picture: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [-1, 1]."""
    return picture.astype(np.float32) / np.float32(255) * 2 - 1


def _read(path: Path, what: str) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no file {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"{what}: {str(path)!r} is no file")
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"{what}: {str(path)!r} is no picture") from error
