"""Films of a shape that moves, made by the code itself.

A shape is five pixels wide and high, and moves one pixel a frame, from one edge to the
other; rows run downwards.
The functions are for one film; map them with `jax.vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .words import KINDS

SIZE = 12
FRAMES = 8
SIDE = 5
BACKGROUND = 0.08
PALETTE = (
    (0.92, 0.15, 0.13),
    (0.12, 0.75, 0.25),
    (0.15, 0.35, 0.98),
    (0.97, 0.85, 0.12),
    (0.97, 0.97, 0.97),
)
# Of `words.SHAPES`, row by row.
_DRAWN = (
    ".###. ##### ##### ##### .###.",
    "##### ##### ##### ##### #####",
    "..#.. ..#.. .###. .###. #####",
    "..#.. ..#.. ##### ..#.. ..#..",
)
STENCILS = np.asarray(
    [[[pixel == "#" for pixel in row] for row in one.split()] for one in _DRAWN],
    np.float32,
)
# (rows, columns) of a frame's motion, of `words.DIRECTIONS`.
STEPS = np.asarray([[0, -1], [0, 1], [-1, 0], [1, 0]], np.int32)


class Scene(NamedTuple):
    """What a film shows; int32 arrays.

    Attributes:
        colour: (), a place in `words.COLOURS`.
        shape: (), a place in `words.SHAPES`.
        direction: (), a place in `words.DIRECTIONS`.
        start: (2,), row and column of the shape's corner in the first frame.
    """

    colour: jax.Array
    shape: jax.Array
    direction: jax.Array
    start: jax.Array


def draw(key: jax.Array, words: jax.Array | None = None) -> Scene:
    """Draws a scene whose shape is whole in every frame.

    Args:
        key: a PRNG key.
        words: int32 (3,), which colour, shape and direction; drawn, too, unless given.

    Returns:
        The scene.
    """
    said, where = jax.random.split(key)
    if words is None:
        most = jnp.asarray([len(kind) for kind in KINDS])
        words = jax.random.randint(said, (len(KINDS),), 0, most, jnp.int32)
    way = jnp.asarray(STEPS)[words[2]] * (FRAMES - 1)
    least, most = jnp.maximum(-way, 0), SIZE - SIDE - jnp.maximum(way, 0)
    start = jax.random.randint(where, (2,), least, most + 1, jnp.int32)
    return Scene(words[0], words[1], words[2], start)


def render(scene: Scene) -> jax.Array:
    """Draws a film, float32 (frames, rows, columns, 3) in [0, 1]."""
    frame = jnp.arange(FRAMES, dtype=jnp.int32)[:, None]
    corners = scene.start + frame * jnp.asarray(STEPS)[scene.direction]
    pixels = jnp.arange(SIZE, dtype=jnp.int32)
    row = pixels[None, :, None] - corners[:, 0, None, None]
    column = pixels[None, None, :] - corners[:, 1, None, None]
    inside = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
    stencil = jnp.asarray(STENCILS)[scene.shape]
    drawn = stencil[jnp.clip(row, 0, SIDE - 1), jnp.clip(column, 0, SIDE - 1)]
    cover = jnp.where(inside, drawn, 0.0)
    colour = jnp.asarray(PALETTE, jnp.float32)[scene.colour]
    return BACKGROUND + cover[..., None] * (colour - BACKGROUND)
