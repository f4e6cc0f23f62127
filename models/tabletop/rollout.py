"""Closed-loop episodes: look, imagine a chunk, act it out, look again."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jax_stepcache
from jax_stepcache.network.params import Params

from .render import render
from .world import DEADLINE, WorldState, observe, reached, reset, step

# Episodes that run side by side; more of them overflow a CPU's cache.
_GROUP = 128


class Rollout(NamedTuple):
    """What became of the episodes.

    Attributes:
        success: bool[episodes], whether a block of the named colour was reached within
            the deadline.
        steps: int32[episodes], world steps until then; the deadline plus one where it
            was not.
        model_calls: float32[episodes], denoising calls of the network for one chunk,
            on average.
        start: the worlds at the beginning, [episodes, ...] arrays.
        path: float32[episodes, deadline + 1, 2], the gripper's positions.
    """

    success: jax.Array
    steps: jax.Array
    model_calls: jax.Array
    start: WorldState
    path: jax.Array


@functools.partial(
    jax.jit,
    static_argnames=(
        "episodes",
        "num_inference_steps",
        "solver",
        "shift",
        "guidance_scale",
        "deadline",
    ),
)
def rollout(
    params: Params,
    policy: Any,
    key: jax.Array,
    *,
    episodes: int,
    num_inference_steps: int | None = None,
    solver: str | None = None,
    shift: float | None = None,
    guidance_scale: float | None = None,
    schedule: Any = None,
    deadline: int = DEADLINE,
) -> Rollout:
    """Runs many episodes in one program.

    Each robot samples by itself: its cache looks at nobody else's velocity. The same
    key gives every policy the same tables, the same flicker and the same noise.

    Args:
        params: the tabletop's.
        policy: the cache policy; its numbers may change without compiling again.
        key: draws the episodes.
        episodes: how many.
        num_inference_steps: see `jax_stepcache.sample`, like the next three.
        solver: likewise.
        shift: likewise.
        guidance_scale: likewise.
        schedule: likewise, tables only; their numbers may change like the policy's.
        deadline: world steps of an episode; a whole number of chunks.

    Returns:
        The outcome.

    Raises:
        ValueError: if the deadline is no whole number of chunks.
    """
    chunk = params.model.noise_struct(1)["action"].shape[1]
    if deadline < 1 or deadline % chunk:
        raise ValueError(f"deadline is {deadline}; it must be a multiple of {chunk}")

    def control(state: WorldState, key: jax.Array) -> tuple[WorldState, Any]:
        camera, noise = jax.random.split(key)
        result = jax_stepcache.sample(
            params,
            observation=jax.tree.map(lambda x: x[None], observe(state, camera)),
            key=noise,
            cache=policy,
            num_inference_steps=num_inference_steps,
            solver=solver,
            shift=shift,
            guidance_scale=guidance_scale,
            schedule=schedule,
        )

        def act(state: WorldState, action: jax.Array) -> tuple[WorldState, Any]:
            state = step(state, action)
            return state, (state.gripper, reached(state))

        actions = params.model.decode(result.sample)["action"][0]
        state, (path, there) = jax.lax.scan(act, state, actions)
        return state, (path, there, result.stats.model_calls)

    def episode(key: jax.Array) -> Rollout:
        world, *controls = jax.random.split(key, 1 + deadline // chunk)
        start = reset(world)
        _, (path, there, calls) = jax.lax.scan(control, start, jnp.stack(controls))
        there = there.reshape(deadline)
        first = jnp.where(there.any(), jnp.argmax(there) + 1, deadline + 1)
        path = jnp.concatenate([start.gripper[None], path.reshape(deadline, 2)])
        return Rollout(there.any(), first, calls.mean(), start, path)

    keys = jax.random.split(key, episodes)
    return jax.lax.map(episode, keys, batch_size=min(_GROUP, episodes))


def success_rate(
    params: Params, policy: Any, *, episodes: int, **options: Any
) -> float:
    """Share of episodes that reach their block in time; see `rollout`."""
    outcome = rollout(params, policy, jax.random.key(7), episodes=episodes, **options)
    return float(outcome.success.mean())


def film(outcome: Rollout, episode: int) -> jax.Array:
    """Draws an episode.

    Args:
        outcome: of `rollout`.
        episode: which one.

    Returns:
        float32[deadline + 1, 32, 32, 3] in [0, 1].
    """
    start = jax.tree.map(lambda x: x[episode], outcome.start)
    path = outcome.path[episode]
    keys = jax.random.split(jax.random.key(0), len(path))
    draw = jax.vmap(render, in_axes=(0, None, None, 0))
    return draw(path, start.blocks, start.colours, keys)
