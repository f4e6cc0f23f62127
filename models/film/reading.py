"""What a film shows, read off its frames by looking for the shape that fits best."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .words import COLOURS, DIRECTIONS, SHAPES
from .world import BACKGROUND, PALETTE, RADIUS, covers

_RADII = np.linspace(RADIUS[0] - 0.4, RADIUS[1] + 0.4, 9, dtype=np.float32)
_FAINT = 0.15  # of full cover: what is below counts as background


class Reading(NamedTuple):
    """What was found.

    Attributes:
        colour: a place in `COLOURS`.
        shape: a place in `SHAPES`.
        direction: a place in `DIRECTIONS`.
        psnr: of the film to the drawing of what was found, in dB; a shape that is
            blurred, broken, or not alone is far from any drawing.
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
    """Reads a film.

    The colour is the one whose hue is nearest to the mean of what is no background,
    the direction the larger part of the way from the first frames to the last; shape
    and size are those whose drawing, at the centre of each frame, is nearest.

    Args:
        film: float (frames, rows, columns, 3) in [0, 1].

    Returns:
        What was found.
    """
    above = np.asarray(film, np.float32) - BACKGROUND
    strength = np.maximum(np.abs(above).max(axis=-1), 1e-6)
    strong = np.where(strength > 0.5 * strength.max(), 1.0, 0.0)
    mean = (above * strong[..., None]).sum(axis=(0, 1, 2)) / strong.sum()
    palette = np.asarray(PALETTE, np.float32) - BACKGROUND
    colour = int(np.square(palette - mean).sum(axis=-1).argmin())
    # How much of the colour found there is in each pixel.
    own = palette[colour]
    share = above @ own / (own @ own)
    inked = np.where(share > _FAINT, share, 0.0)
    centre = _centres(inked)
    way = centre[-2:].mean(axis=0) - centre[:2].mean(axis=0)
    axis = int(abs(way[1]) > abs(way[0]))
    direction = 2 * axis + int(way[axis] > 0)
    fits = np.asarray(_drawn(centre))
    errors = np.square(fits - share).mean(axis=(2, 3, 4))
    size, shape = np.unravel_index(errors.argmin(), errors.shape)
    drawn = BACKGROUND + fits[size, shape][..., None] * own
    error = float(np.square(drawn - film).mean())
    return Reading(colour, int(shape), direction, -10 * float(np.log10(error)))


@jax.jit
def _drawn(centre: jax.Array) -> jax.Array:
    """Each shape of each size, (radii, shapes, frames, rows, columns)."""
    return jax.vmap(covers, (None, 0))(centre, jnp.asarray(_RADII))


def _centres(inked: np.ndarray) -> np.ndarray:
    """Centres of mass (frames, 2), x and y; the middle of a frame without any."""
    _, rows, columns = inked.shape
    mass = inked.sum(axis=(1, 2))
    x = (inked.sum(axis=1) * (np.arange(columns) + 0.5)).sum(axis=1)
    y = (inked.sum(axis=2) * (np.arange(rows) + 0.5)).sum(axis=1)
    some = mass > 1e-6
    found = np.stack([x, y], axis=-1) / np.where(some, mass, 1.0)[:, None]
    middle = np.asarray([columns, rows], np.float32) / 2
    return np.where(some[:, None], found, middle).astype(np.float32)
