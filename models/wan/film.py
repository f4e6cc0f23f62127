"""A film, and how it was made."""

from __future__ import annotations

import os
from dataclasses import dataclass

import jax
import numpy as np

from jax_stepcache.loop.result import Stats

from ..films import write_film


@dataclass(frozen=True, eq=False)
class WanFilm:
    """What `WanPipeline` returns for a prompt.

    Attributes:
        frames: uint8 (F, H, W, 3).
        stats: which steps ran the network; `jax_stepcache.summary` takes the film. Of
            several prompts in a call it is that of all of them.
        latents: float32 (C, f, h, w), normalised, which the VAE made the frames of.
        fps: frames a second.
    """

    frames: np.ndarray
    stats: Stats
    latents: jax.Array
    fps: float

    def save(self, path: str | os.PathLike[str], fps: float | None = None) -> None:
        """Writes the film, under a temporary name first; see `write_film`.

        Args:
            path: ``film.mp4`` or ``film.gif``.
            fps: frames a second; the release's unless given.

        Raises:
            ImportError: without imageio, with what to install.
            ValueError: for another ending.
        """
        write_film(path, self.frames, self.fps if fps is None else fps)

    def __repr__(self) -> str:
        """Its size, and its steps on a line."""
        count, height, width, _ = self.frames.shape
        return f"WanFilm({count} frames, {height} x {width}, {self.stats!r})"
