"""The scripted expert: picks a block of the named colour and goes straight to it."""

import jax
import jax.numpy as jnp

from .world import MAX_STEP, WorldState, block_distances

TEMPERATURE = 0.05


def choose_target(state: WorldState, key: jax.Array) -> jax.Array:
    """Draws the block to go to.

    The nearer, the likelier: with two blocks of the named colour at distances dA
    and dB, the first is chosen with probability sigmoid((dB - dA) / TEMPERATURE).

    Args:
      state: the table.
      key: a PRNG key.

    Returns:
      float32 (2,), the chosen block's centre.
    """
    named = state.colours == state.instruction
    # Finite: an infinity would stop who runs under jax_debug_infs.
    least = jnp.finfo(jnp.float32).min
    logits = jnp.where(named, -block_distances(state) / TEMPERATURE, least)
    return state.blocks[jax.random.categorical(key, logits)]


def expert_actions(gripper: jax.Array, target: jax.Array, steps: int) -> jax.Array:
    """Actions that go straight to a target and stay there.

    Args:
      gripper: float32 (2,), where the gripper is.
      target: float32 (2,), where it shall go.
      steps: number of actions.

    Returns:
      float32 (steps, 2), displacements of at most `MAX_STEP`.
    """
    offset = target - gripper
    distance = jnp.linalg.norm(offset)
    counted = jnp.arange(steps + 1, dtype=jnp.float32)
    travelled = jnp.minimum(counted * MAX_STEP, distance)
    direction = offset / jnp.maximum(distance, 1e-8)
    return jnp.diff(travelled)[:, None] * direction[None]
