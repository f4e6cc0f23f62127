"""A table with coloured blocks and a gripper that an instruction sends to a colour.

Four blocks lie on the unit table, two of them of one colour. The gripper starts
almost as far from one of those two as from the other, so a demonstration may go to
either: the distribution of actions has two modes. An action is a displacement of at
most `MAX_STEP`. Blocks do not obstruct. The functions are for one table; map them
with `jax.vmap`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .render import BLOCK_HALF_SIDE, COLOUR_NAMES, render

NUM_BLOCKS = 4
NUM_COLOURS = len(COLOUR_NAMES)
MAX_STEP = 0.04
TOLERANCE = 0.06
DEADLINE = 16

_MARGIN = 0.1  # of block centres and of the gripper's start to the table's edge
_DISTANCE = (0.40, 0.54)  # from the start to the two blocks of the same colour
_DISTANCE_DIFFERENCE = 0.02  # at most, between those two distances
_ANGLE = (jnp.pi * 0.45, jnp.pi)  # between the directions to the two
_CLEARANCE = 2 * BLOCK_HALF_SIDE + 0.02  # between the centres of any two bodies
_CANDIDATES = 256


class WorldState(NamedTuple):
    """One table.

    Attributes:
      gripper: float32 (2,), position on the unit table.
      blocks: float32 (4, 2), centres of the blocks.
      colours: int32 (4,), index of each block's colour; the first two are equal.
      instruction: int32 (), index of the colour to reach.
    """

    gripper: jax.Array
    blocks: jax.Array
    colours: jax.Array
    instruction: jax.Array


def reset(key: jax.Array, single_colour: float = 0.0) -> WorldState:
    """Draws a table.

    Args:
      key: a PRNG key.
      single_colour: probability in [0, 1] that the instruction names a colour that
        only one block has. At 0 every episode has two blocks to choose from.

    Returns:
      The initial state of the episode.
    """
    pair_key, third_key, fourth_key, colour_key, name_key = jax.random.split(key, 5)
    gripper, pair = _ambiguous_start(pair_key)
    bodies = jnp.concatenate([gripper[None], pair])
    for block_key in (third_key, fourth_key):
        bodies = jnp.concatenate([bodies, _free_place(block_key, bodies)[None]])
    distinct = jax.random.permutation(colour_key, NUM_COLOURS)[: NUM_BLOCKS - 1]
    colours = jnp.concatenate([distinct[:1], distinct]).astype(jnp.int32)
    named = jnp.where(
        jax.random.uniform(name_key, (), jnp.float32) < single_colour, 2, 0
    )
    return WorldState(gripper, bodies[1:], colours, colours[named])


def step(state: WorldState, action: jax.Array) -> WorldState:
    """Moves the gripper.

    Args:
      state: the table before.
      action: float32 (2,), the displacement; one longer than `MAX_STEP` is
        shortened to it.

    Returns:
      The table after; the gripper stays on it.
    """
    length = jnp.linalg.norm(action)
    action = action * jnp.minimum(1.0, MAX_STEP / jnp.maximum(length, 1e-8))
    return state._replace(gripper=jnp.clip(state.gripper + action, 0.0, 1.0))


def reached(state: WorldState) -> jax.Array:
    """Whether the gripper is within `TOLERANCE` of a block of the named colour.

    Args:
      state: the table.

    Returns:
      bool ().
    """
    near = block_distances(state) <= TOLERANCE
    return jnp.any(near & (state.colours == state.instruction))


def block_distances(state: WorldState) -> jax.Array:
    """Distances from the gripper to the blocks' centres, float32 (4,)."""
    return jnp.linalg.norm(state.blocks - state.gripper[None], axis=-1)


def observe(state: WorldState, key: jax.Array) -> dict[str, jax.Array]:
    """What the policy sees.

    Args:
      state: the table.
      key: draws the table top's flicker in this frame.

    Returns:
      "image" float32 (32, 32, 3) in [0, 1], "state" float32 (2,), the gripper's
      position, and "instruction" int32 ().
    """
    return {
        "image": render(state.gripper, state.blocks, state.colours, key),
        "state": state.gripper,
        "instruction": state.instruction,
    }


def _ambiguous_start(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a start (2,) and two blocks (2, 2) that are almost equally far."""
    keys = jax.random.split(key, 5)
    shape = (_CANDIDATES,)
    start = _drawn(keys[0], (*shape, 2), _MARGIN, 1 - _MARGIN)
    near = _drawn(keys[1], shape, *_DISTANCE)
    gap = _drawn(keys[2], shape, -1.0, 1.0)
    distance = jnp.stack([near, near + _DISTANCE_DIFFERENCE * gap], axis=-1)
    heading = _drawn(keys[3], shape, 0.0, 2 * jnp.pi)
    between = _drawn(keys[4], shape, *_ANGLE)
    angle = jnp.stack([heading, heading + between], axis=-1)
    direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    pair = start[:, None] + distance[..., None] * direction
    room = jnp.minimum(pair, 1 - pair).min(axis=(1, 2)) - _MARGIN
    chosen = _first_valid(room)
    return start[chosen], pair[chosen]


def _free_place(key: jax.Array, bodies: jax.Array) -> jax.Array:
    """Draws a place (2,) for a block clear of all `bodies` (n, 2)."""
    places = _drawn(key, (_CANDIDATES, 2), _MARGIN, 1 - _MARGIN)
    gaps = jnp.max(jnp.abs(places[:, None] - bodies[None]), axis=-1)
    return places[_first_valid(gaps.min(axis=-1) - _CLEARANCE)]


def _drawn(
    key: jax.Array, shape: tuple[int, ...], least: float, most: float
) -> jax.Array:
    """Draws float32 numbers evenly."""
    return jax.random.uniform(key, shape, jnp.float32, least, most)


def _first_valid(room: jax.Array) -> jax.Array:
    """Index of the first candidate with `room` >= 0, else of the one with most."""
    return jnp.argmax(jnp.minimum(room, 0.0))
