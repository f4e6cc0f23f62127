"""Films on disk: MP4 or GIF."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.check import check_numbers
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

_KINDS = (".mp4", ".gif")


def write_film(path: str | os.PathLike[str], frames: np.ndarray, fps: float) -> None:
    """Writes a film, under a temporary name first.

    Needs ``imageio`` (and ``imageio-ffmpeg`` for MP4): ``pip install
    'jax-stepcache[film]'``.

    Args:
        path: the file; its ending says which kind, ``.mp4`` or ``.gif``.
        frames: uint8 (F, H, W, 3).
        fps: frames a second.

    Raises:
        ImportError: without imageio.
        ValueError: for another ending, or what are no frames.
    """
    file = _named(path)
    check_numbers("fps", fps, above=0)
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"frames are {frames.dtype}{list(frames.shape)}; give uint8 (F, H, W, 3)"
        )
    if not len(frames):
        raise ValueError("frames are none; a film has at least one")
    imageio = _imageio()
    partial = file.with_name(f".{file.stem}.partial{file.suffix}")
    try:
        if file.suffix.lower() == ".gif":
            imageio.imwrite(partial, frames, duration=1000 / fps, loop=0)
        else:
            _write_mp4(imageio, partial, frames, fps)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def read_film(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a film.

    Args:
        path: the file, ``.mp4`` or ``.gif``.

    Returns:
        uint8 (F, H, W, 3).

    Raises:
        ImportError: without imageio.
        FileNotFoundError: if there is no such file.
        ValueError: for another ending.
    """
    file = _named(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no film {str(file)!r}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        frames = np.asarray(_imageio().imread(file, index=None))
    return frames[..., :3].astype(np.uint8)


def check_film(path: str | os.PathLike[str], fps: float | None = None) -> None:
    """Checks that a film could be written, before it is made.

    Args:
        path: the file to be.
        fps: frames a second, where they are said.

    Raises:
        ImportError: without imageio.
        FileNotFoundError: if there is no such folder.
        ValueError: for an ending that is none of a film, or another number of frames.
    """
    file = _named(path)
    if fps is not None:
        check_numbers("fps", fps, above=0)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(file.parent)!r} for the film")
    _imageio()


def _named(path: str | os.PathLike[str]) -> Path:
    """A path with an ending of a film."""
    file = as_path(path)
    if file.suffix.lower() not in _KINDS:
        raise ValueError(unknown_name("ending of a film", file.suffix, _KINDS))
    return file


def _imageio() -> Any:
    try:
        import imageio.v3 as imageio
    except ImportError as error:
        raise ImportError(
            "films need imageio: pip install 'jax-stepcache[film]'"
        ) from error
    return imageio


def _write_mp4(imageio: Any, path: Path, frames: np.ndarray, fps: float) -> None:
    # H.264 halves the rows and columns of colour: one that is odd is said twice.
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    frames = np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")
    with warnings.catch_warnings():
        # JAX warns of forks. This one becomes ffmpeg at once, and runs nothing of JAX.
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        # Without a block of 1, frames are resized to multiples of 16.
        imageio.imwrite(path, frames, fps=fps, macro_block_size=1, codec="libx264")
    if not path.stat().st_size:
        raise OSError(f"ffmpeg made nothing of {len(frames)} frames for {path.name}")
