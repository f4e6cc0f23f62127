"""Films of a shape that moves, made by the code itself.

Edges are antialiased, so that a motion of less than a pixel shows. Units are pixels and
frames; rows run downwards. The functions are for one film; map them with `jax.vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .words import KINDS

SIZE = 16
FRAMES = 8
BACKGROUND = 0.08
PALETTE = (
    (0.92, 0.15, 0.13),
    (0.12, 0.75, 0.25),
    (0.15, 0.35, 0.98),
    (0.97, 0.85, 0.12),
    (0.97, 0.97, 0.97),
)
RADIUS = (2.8, 3.6)
SPEED = (0.7, 1.0)
_MARGIN = 0.5  # between the shape and the film's edge, at all times
# (x, y) of a frame's motion.
_STEPS = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class Scene(NamedTuple):
    """What a film shows.

    Attributes:
        colour: int32 (), a place in `words.COLOURS`.
        shape: int32 (), a place in `words.SHAPES`.
        direction: int32 (), a place in `words.DIRECTIONS`.
        radius: float32 (), of the circle around the shape.
        start: float32 (2,), x and y of its centre in the first frame.
        speed: float32 (), pixels a frame.
    """

    colour: jax.Array
    shape: jax.Array
    direction: jax.Array
    radius: jax.Array
    start: jax.Array
    speed: jax.Array


def draw(key: jax.Array, words: jax.Array | None = None) -> Scene:
    """Draws a scene whose shape is whole in every frame.

    Args:
        key: a PRNG key.
        words: int32 (3,), which colour, shape and direction; drawn, too, unless given.

    Returns:
        The scene.
    """
    keys = jax.random.split(key, 4)
    if words is None:
        most = jnp.asarray([len(kind) for kind in KINDS])
        words = jax.random.randint(keys[0], (len(KINDS),), 0, most, jnp.int32)
    radius = jax.random.uniform(keys[1], (), jnp.float32, *RADIUS)
    speed = jax.random.uniform(keys[2], (), jnp.float32, *SPEED)
    motion = jnp.asarray(_STEPS, jnp.float32)[words[2]] * speed * (FRAMES - 1)
    least = radius + _MARGIN + jnp.maximum(-motion, 0.0)
    most = SIZE - radius - _MARGIN - jnp.maximum(motion, 0.0)
    where = jax.random.uniform(keys[3], (2,), jnp.float32)
    start = least + where * (most - least)
    return Scene(words[0], words[1], words[2], radius, start, speed)


def centres(scene: Scene) -> jax.Array:
    """Where the shape's centre is, (frames, 2)."""
    step = jnp.asarray(_STEPS, jnp.float32)[scene.direction] * scene.speed
    return scene.start + jnp.arange(FRAMES, dtype=jnp.float32)[:, None] * step


def render(scene: Scene) -> jax.Array:
    """Draws a film, float32 (frames, rows, columns, 3) in [0, 1]."""
    cover = covers(centres(scene), scene.radius)[scene.shape]
    colour = jnp.asarray(PALETTE, jnp.float32)[scene.colour]
    return BACKGROUND + cover[..., None] * (colour - BACKGROUND)


def covers(centre: ArrayLike, radius: ArrayLike) -> jax.Array:
    """How much of each pixel each shape covers.

    Args:
        centre: (frames, 2) x and y.
        radius: float32 ().

    Returns:
        float32 (shapes, frames, rows, columns) in [0, 1], in `words.SHAPES`' order.
    """
    centre, radius = jnp.asarray(centre), jnp.asarray(radius)
    pixels = jnp.arange(SIZE, dtype=jnp.float32) + 0.5
    x = pixels[None, None, :] - centre[:, 0, None, None]
    y = pixels[None, :, None] - centre[:, 1, None, None]
    wide, high = abs(x), abs(y)
    circle = 0.92 * radius - jnp.hypot(x, y)
    square = 0.82 * radius - jnp.maximum(wide, high)
    # One corner up, and the other two at 120 degrees.
    slope = jnp.float32(3**0.5 / 2)
    triangle = 0.62 * radius - jnp.maximum(y, slope * wide - y / 2)
    bar, arm = 0.36 * radius, radius
    across = jnp.minimum(arm - wide, bar - high)
    cross = jnp.maximum(across, jnp.minimum(bar - wide, arm - high))
    depth = jnp.stack([circle, square, triangle, cross])
    return jnp.clip(depth + 0.5, 0.0, 1.0)
