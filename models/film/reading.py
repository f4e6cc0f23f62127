"""What a film shows, read off its frames by looking for the drawing that fits best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .words import COLOURS, DIRECTIONS, SHAPES
from .world import BACKGROUND, FRAMES, PALETTE, SIDE, SIZE, STENCILS, STEPS

_PLACES = SIZE - SIDE + 1


class Reading(NamedTuple):
    """What was found.

    Attributes:
        colour: a place in `COLOURS`.
        shape: a place in `SHAPES`.
        direction: a place in `DIRECTIONS`.
        psnr: of the film to the nearest one that there could be, in dB; a shape that
            is blurred, broken, not alone, or does not move evenly, is far from any.
    """

    colour: int
    shape: int
    direction: int
    psnr: float

    @property
    def prompt(self) -> str:
        """In words."""
        colour, shape = COLOURS[self.colour], SHAPES[self.shape]
        return f"a {colour} {shape} moves {DIRECTIONS[self.direction]}"


def read(film: np.ndarray) -> Reading:
    """Reads a film: of all those that the world could have made, the nearest.

    Args:
        film: float (frames, rows, columns, 3) in [0, 1].

    Returns:
        What it shows.
    """
    film = np.asarray(film, np.float64)
    above = film - BACKGROUND
    own = np.asarray(PALETTE) - BACKGROUND
    # Squared distances to a colour and to the background differ by a linear map, so
    # each candidate's error is a sum over the pixels that it covers.
    gain = np.square(own).sum(axis=1)[:, None, None, None] - 2 * np.einsum(
        "kc,fyxc->kfyx", own, above
    )
    windows = np.lib.stride_tricks.sliding_window_view(gain, (SIDE, SIDE), axis=(2, 3))
    # (colours, shapes, frames, rows, columns) of a shape's corner.
    placed = np.einsum("kfyxab,sab->ksfyx", windows, STENCILS)
    best: tuple[float, int, int, int] = (np.inf, 0, 0, 0)
    for direction, step in enumerate(STEPS):
        moved = _along(placed, step)
        flat = int(moved.argmin())
        if moved.flat[flat] < best[0]:
            colour, shape = np.unravel_index(flat, moved.shape)[:2]
            best = (float(moved.flat[flat]), int(colour), int(shape), direction)
    error = (np.square(above).sum() + best[0]) / film.size
    return Reading(*best[1:], -10 * float(np.log10(max(error, 1e-10))))


def _along(placed: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Sums over the frames of a motion, for each place where it can begin."""
    reach = step * (FRAMES - 1)
    first, count = np.maximum(-reach, 0), _PLACES - abs(reach)
    total = np.zeros((*placed.shape[:2], *count))
    for frame in range(FRAMES):
        row, column = first + frame * step
        rows, columns = slice(row, row + count[0]), slice(column, column + count[1])
        total += placed[:, :, frame, rows, columns]
    return total
