"""Training chunks, made on the fly from a key: no data set on disk."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .expert import choose_target, expert_actions
from .render import render
from .world import MAX_STEP, WorldState, observe, reset

CHUNK = 8
FRAMES = 2

_SINGLE_COLOUR = 0.2  # share of chunks whose instruction names a colour seen once
_UNDER_WAY = 0.5  # share of chunks that begin after some steps of an episode
_STRAYED = 0.1  # share of chunks that begin anywhere on the table
_MAX_STEPS_TAKEN = 14
_DRIFT = 0.03  # standard deviation of the position after those steps


class Demonstration(NamedTuple):
    """One demonstration of some chunks, from any moment of an episode.

    Attributes:
      observation: what the policy sees before it, see `world.observe`.
      frames: float32 (2 * blocks, 32, 32, 3), the camera after every 4 actions.
      actions: float32 (8 * blocks, 2), the expert's displacements.
      states: float32 (blocks, 2), the gripper's position where each chunk begins.
    """

    observation: dict[str, jax.Array]
    frames: jax.Array
    actions: jax.Array
    states: jax.Array


def demonstrate(key: jax.Array, batch: int, blocks: int = 1) -> Demonstration:
    """Draws demonstrations, with a leading axis of length `batch`."""
    return jax.vmap(_demonstrate, in_axes=(0, None))(
        jax.random.split(key, batch), blocks
    )


def _demonstrate(key: jax.Array, blocks: int) -> Demonstration:
    keys = jax.random.split(key, 5)
    state = _some_moment(reset(keys[0], _SINGLE_COLOUR), keys[1])
    target = choose_target(state, keys[2])
    actions = expert_actions(state.gripper, target, CHUNK * blocks)
    path = state.gripper[None] + jnp.cumsum(actions, axis=0)
    shown = path[CHUNK // FRAMES - 1 :: CHUNK // FRAMES]
    frames = jax.vmap(render, in_axes=(0, None, None, 0))(
        shown, state.blocks, state.colours, jax.random.split(keys[3], FRAMES * blocks)
    )
    begins = jnp.concatenate([state.gripper[None], path[CHUNK - 1 :: CHUNK]])[:-1]
    return Demonstration(observe(state, keys[4]), frames, actions, begins)


def _some_moment(state: WorldState, key: jax.Array) -> WorldState:
    """Moves the gripper to where a policy may find it, a little off the way too."""
    keys = jax.random.split(key, 5)
    steps = jax.random.randint(keys[0], (), 1, _MAX_STEPS_TAKEN + 1)
    offset = choose_target(state, keys[1]) - state.gripper
    distance = jnp.linalg.norm(offset)
    taken = steps.astype(jnp.float32) * MAX_STEP
    share = jnp.minimum(taken / distance, 1.0)
    drift = _DRIFT * jax.random.normal(keys[2], (2,), jnp.float32)
    under_way = jnp.clip(state.gripper + share * offset + drift, 0.0, 1.0)
    strayed = jax.random.uniform(keys[3], (2,), jnp.float32)
    moment = jax.random.uniform(keys[4], (), jnp.float32)
    gripper = jnp.where(moment < _UNDER_WAY + _STRAYED, strayed, state.gripper)
    gripper = jnp.where(moment < _UNDER_WAY, under_way, gripper)
    return state._replace(gripper=gripper)
