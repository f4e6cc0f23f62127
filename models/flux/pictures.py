"""Pictures, and how they were made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jax_stepcache.loop.result import Stats
from jax_stepcache.paths import as_path


@dataclass(frozen=True, eq=False)
class FluxPicture:
    """What `FluxPipeline` returns for a prompt.

    Attributes:
        pixels: uint8 (H, W, 3).
        stats: which steps ran the network; `jax_stepcache.summary` takes the picture.
            Of several in one batch it is that of all of them.
        latents: float32 (C, h, w), normalised, which the autoencoder made it of.
        seed: of its noise; None where that was given.
    """

    pixels: np.ndarray
    stats: Stats
    latents: jax.Array
    seed: int | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture, under a temporary name first.

        Args:
            path: the file; its ending says which kind, as Pillow knows them.

        Raises:
            FileNotFoundError: if there is no such folder.
            ImportError: without Pillow, with what to install.
            ValueError: for another ending.
        """
        file = check_picture(path)
        from PIL import Image

        partial = file.with_name(f".{file.stem}.partial{file.suffix}")
        try:
            Image.fromarray(self.pixels).save(partial)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def __repr__(self) -> str:
        """Its size, and its steps on a line."""
        height, width, _ = self.pixels.shape
        return f"FluxPicture({height} x {width}, {self.stats!r})"


def check_picture(path: str | os.PathLike[str]) -> Path:
    """Checks that a picture could be written, before it is made.

    Args:
        path: the file to be.

    Returns:
        The path.

    Raises:
        FileNotFoundError: if there is no such folder.
        ImportError: without Pillow, with what to install.
        ValueError: for an ending that Pillow does not write.
    """
    file = as_path(path)
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(file.parent)!r} for the picture"
        )
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "pictures need Pillow: pip install 'jax-stepcache[pixels]'"
        ) from error
    if file.suffix.lower() not in Image.registered_extensions():
        raise ValueError(
            f"{file.name} has no ending of a picture; .png, .jpg and .webp are some"
        )
    return file
