"""Draws the table: square blocks, the gripper's disc on top, a flickering table top."""

import jax
import jax.numpy as jnp

IMAGE_SIZE = 32
BLOCK_HALF_SIDE = 0.085
GRIPPER_RADIUS = 0.055
GRIPPER_COLOUR = (0.97, 0.97, 0.97)
TABLE_COLOUR = (0.5, 0.5, 0.5)
FLICKER = 0.08
# red, green, blue, yellow, magenta
PALETTE = (
    (0.90, 0.12, 0.12),
    (0.10, 0.70, 0.15),
    (0.12, 0.22, 0.92),
    (0.95, 0.82, 0.08),
    (0.80, 0.15, 0.80),
)
COLOUR_NAMES = ("red", "green", "blue", "yellow", "magenta")


def render(
    gripper: jax.Array, blocks: jax.Array, colours: jax.Array, key: jax.Array
) -> jax.Array:
    """Draws one camera frame of one table.

    Edges are antialiased, so that a motion of less than a pixel is visible.

    Args:
      gripper: float32 (2,), x and y of the gripper on the unit table.
      blocks: float32 (N, 2), centres of the blocks on the unit table. A later
        block is drawn over an earlier one.
      colours: int32 (N,), index of each block's colour in `PALETTE`.
      key: draws the table top's colour, which flickers from frame to frame.

    Returns:
      float32 (32, 32, 3), RGB in [0, 1]; rows follow y, columns x.
    """
    centres = (jnp.arange(IMAGE_SIZE, dtype=jnp.float32) + 0.5) / IMAGE_SIZE
    x, y = centres[None, :], centres[:, None]
    tint = jax.random.uniform(key, (3,), jnp.float32, -FLICKER, FLICKER)
    table = jnp.asarray(TABLE_COLOUR, jnp.float32) + tint
    image = jnp.broadcast_to(table, (IMAGE_SIZE, IMAGE_SIZE, 3))
    palette = jnp.asarray(PALETTE, jnp.float32)
    for block in range(blocks.shape[0]):
        reach = jnp.maximum(abs(x - blocks[block, 0]), abs(y - blocks[block, 1]))
        image = _paint(image, BLOCK_HALF_SIDE - reach, palette[colours[block]])
    reach = jnp.hypot(x - gripper[0], y - gripper[1])
    colour = jnp.asarray(GRIPPER_COLOUR, jnp.float32)
    return _paint(image, GRIPPER_RADIUS - reach, colour)


def _paint(image: jax.Array, depth: jax.Array, colour: jax.Array) -> jax.Array:
    """Blends `colour` in where `depth` (distance inside a shape's edge) allows."""
    cover = jnp.clip(depth * IMAGE_SIZE + 0.5, 0.0, 1.0)[..., None]
    return image + cover * (colour[None, None] - image)
