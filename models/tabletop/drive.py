"""Robots at their tables through whole sessions: look, imagine, act, look again."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_count, check_key

from ..dreamzero import ControlStep, DreamZeroPipeline
from . import latent
from .episodes import CHUNK, FRAMES
from .model import instruction_embedding, normalised_state
from .render import render
from .world import WorldState, reached, reset, step


class Drive(NamedTuple):
    """What became of the sessions; one entry of each list for each control step.

    Attributes:
        start: the worlds at the beginning, [robots, ...] arrays.
        path: float32[robots, 1 + actions, 2], the grippers' positions.
        reached: bool[robots, actions], whether a block of the named colour was within
            reach after each action.
        seen: float32[robots, 1 + 2 * steps, 32, 32, 3], what the cameras saw of it.
        steps: the control steps.
    """

    start: WorldState
    path: np.ndarray
    reached: np.ndarray
    seen: np.ndarray
    steps: list[ControlStep]


def drive(
    pipeline: DreamZeroPipeline,
    key: jax.Array,
    *,
    robots: int = 1,
    control_steps: int = 4,
    **options: Any,
) -> Drive:
    """Drives robots, each at a table of its own, in one batch of sessions.

    Args:
        pipeline: of the tabletop's params.
        key: draws the tables, the flicker and the noise.
        robots: how many.
        control_steps: how many chunks of actions.
        **options: of the pipeline's call.

    Returns:
        What happened.

    Raises:
        ValueError: for no robot or no control step.
        TypeError: for what is no pipeline, or no PRNG key.
    """
    if not isinstance(pipeline, DreamZeroPipeline):
        raise TypeError(
            f"pipeline is a {type(pipeline).__name__}; give DreamZeroPipeline(params)"
        )
    check_key(key)
    check_count("robots", robots, 1)
    check_count("control_steps", control_steps, 1)
    tables, lens, *each = jax.random.split(key, 2 + control_steps)
    worlds = start = _lay(jax.random.split(tables, robots))
    text, empty = _prompts(start.instruction)
    session = pipeline.start(text, empty if pipeline.guided else None)
    picture = _look(worlds, lens)
    path, there, seen = [start.gripper[:, None]], [], [picture[:, None]]
    steps: list[ControlStep] = []
    latents = None
    for one in each:
        noise, camera = jax.random.split(one)
        shown = {"state": _state(worlds.gripper)}
        if pipeline.begins(session).any():
            shown["first"] = _encoded(seen[-1][:, -1:])
        if latents is not None:
            shown["latents"] = latents
        # Kept, so that each can be looked at afterwards; a real loop would let go.
        taken = pipeline(session, shown, key=noise, donate=False, **options)
        session = taken.session
        worlds, positions, arrived, pictures = _act(
            worlds, pipeline.model.decode({**_sample(taken)})["action"], camera
        )
        latents = _encoded(pictures)
        steps.append(taken)
        path.append(positions)
        there.append(arrived)
        seen.append(pictures)
    return Drive(
        start,
        _joined(path),
        _joined(there),
        _joined(seen),
        steps,
    )


def _joined(parts: list[Any]) -> np.ndarray:
    return np.concatenate(jax.device_get(parts), axis=1)


def _sample(taken: ControlStep) -> dict[str, jax.Array]:
    return {"video": taken.video, "action": taken.action}


# Programs, also where they are small: single operations send their numbers in passing,
# which `jax.transfer_guard` may forbid.
_lay = jax.jit(jax.vmap(reset))
_encoded = jax.jit(latent.encode)


@jax.jit
def _prompts(instruction: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The encoded instructions, and empty ones."""
    text = instruction_embedding(instruction)
    return text, jnp.zeros_like(text)


@jax.jit
def _state(gripper: jax.Array) -> jax.Array:
    return normalised_state(gripper)[:, None]


@jax.jit
def _look(worlds: WorldState, key: jax.Array) -> jax.Array:
    """A picture of each table, float32[robots, 32, 32, 3]."""
    keys = jax.random.split(key, len(worlds.gripper))
    return jax.vmap(render)(worlds.gripper, worlds.blocks, worlds.colours, keys)


@jax.jit
def _act(
    worlds: WorldState, actions: jax.Array, key: jax.Array
) -> tuple[WorldState, jax.Array, jax.Array, jax.Array]:
    """Acts out a chunk; also positions, arrivals and the pictures along the way."""

    def act(world: WorldState, action: jax.Array) -> tuple[WorldState, Any]:
        world = step(world, action)
        return world, (world.gripper, reached(world))

    def robot(world: WorldState, actions: jax.Array) -> Any:
        return jax.lax.scan(act, world, actions)

    worlds, (positions, there) = jax.vmap(robot)(worlds, actions)
    pictures = []
    every = CHUNK // FRAMES
    for frame, k in enumerate(jax.random.split(key, FRAMES)):
        then = worlds._replace(gripper=positions[:, (frame + 1) * every - 1])
        pictures.append(_look(then, k))
    return worlds, positions, there, jnp.stack(pictures, axis=1)
