"""Predicted films on disk."""

from __future__ import annotations

import os

import numpy as np

from ...films import write_film

FRAMES_PER_SECOND = 5.0
"""Of DROID's predicted films: 8 frames for 24 actions at 15 Hz."""


def save_film(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    fps: float = FRAMES_PER_SECOND,
) -> None:
    """Writes a film, MP4 or GIF, under a temporary name first.

    Args:
        path: the file; its ending says which kind, see `write_film`.
        frames: uint8 (F, H, W, 3), as from `RobotStep.film`.
        fps: frames a second.

    Raises:
        ImportError: without imageio.
        ValueError: for another ending, or what are no frames.
    """
    write_film(path, frames, fps)
