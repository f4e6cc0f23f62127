"""Closed-loop episodes in Meta-World: look, imagine a chunk, act it out, look again.

Robots stand side by side in one batch of DreamZero's sessions, and each one's cache
decides for itself. Whoever is done makes room for the next episode, so the network is
never asked for a robot that has nothing to do. An episode's table and noise depend on
its number and the key alone: every policy gets the same.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_count, check_key
from jax_stepcache.network.params import Params

from ..dreamzero import LatentPipeline
from . import latent
from .episodes import FIRST_SEED
from .model import MetaworldModel, normalised_state
from .robot import Robot, Told
from .sizes import CHUNK
from .tasks import NAMES, tasks_named

DEADLINE = 200
_ROBOTS = 8  # side by side


class Rollout(NamedTuple):
    """What became of the episodes.

    Attributes:
        success: bool[episodes], whether the task was done within the deadline.
        steps: int32[episodes], actions until then; the deadline plus one where it was
            not.
        model_calls: float32[episodes], denoising calls of the network for one chunk,
            on average.
        tasks: the name of each episode's task.
        seen: of each episode uint8[1 + 2 chunks, 64, 64, 3], what the camera saw.
        imagined: likewise uint8[2 chunks, 64, 64, 3], what had been imagined.
    """

    success: np.ndarray
    steps: np.ndarray
    model_calls: np.ndarray
    tasks: tuple[str, ...]
    seen: list[np.ndarray]
    imagined: list[np.ndarray]


def rollout(
    params: Params,
    policy: Any,
    key: jax.Array,
    *,
    episodes: int,
    tasks: tuple[str, ...] = NAMES,
    guidance_scale: float | None = None,
    deadline: int = DEADLINE,
    robots: int = _ROBOTS,
    **options: Any,
) -> Rollout:
    """Runs episodes, the tasks in turn.

    Args:
        params: Meta-World's.
        policy: the cache policy.
        key: draws the episodes.
        episodes: how many, of all tasks together.
        tasks: names.
        guidance_scale: see `jax_stepcache.sample`.
        deadline: actions of an episode; a whole number of chunks.
        robots: side by side.
        **options: of `jax_stepcache.sample`: ``num_inference_steps``, ``schedule``, ...

    Returns:
        The outcome.

    Raises:
        ValueError: for an unknown task, a deadline that is no whole number of chunks,
            or no episode.
        ImportError: without the simulator.
        OSError: where it cannot draw.
    """
    tasks = tasks_named(tasks)
    check_key(key)
    check_count("episodes", episodes, 1)
    check_count("robots", robots, 1)
    if deadline < 1 or deadline % CHUNK:
        raise ValueError(f"deadline is {deadline}; it must be a multiple of {CHUNK}")
    pipeline = LatentPipeline(params, guidance_scale=guidance_scale)
    tables, noise = jax.random.split(key)
    first = int(jax.random.randint(tables, (), 0, FIRST_SEED - episodes))
    waiting = iter(
        [(i, tasks[i % len(tasks)], first + i // len(tasks)) for i in range(episodes)]
    )
    stand = [Robot(deadline) for _ in range(min(robots, episodes))]
    ended: dict[int, Told] = {}
    for robot in stand:
        robot.begin(*next(waiting))
    session = pipeline.start(*_text(params.model, pipeline.guided, stand))
    while any(robot.busy for robot in stand):
        text = _text(params.model, pipeline.guided, stand)
        session = pipeline.prompt(session, *text)
        drawn = _noise(params.model, noise, [robot.turn for robot in stand])
        step = pipeline(
            session,
            _shown(params.model, stand),
            noise=drawn,
            cache=policy,
            decide="sample",
            **options,
        )
        session = step.session
        told = params.model.decode({"video": step.video, "action": step.action})
        told, calls = jax.device_get((told, step.stats.model_calls))
        for i, robot in enumerate(stand):
            if not robot.busy:
                continue
            if robot.act(told["action"][i], told["video"][i], int(calls[i])):
                ended[robot.episode] = robot.ended()
                if (following := next(waiting, None)) is not None:
                    robot.begin(*following)
    for robot in stand:
        robot.close()
    return _outcome([ended[i] for i in range(episodes)])


def film(outcome: Rollout, episode: int) -> np.ndarray:
    """An episode, seen beside imagined; both stand still once it is over.

    Args:
        outcome: of `rollout`.
        episode: which one.

    Returns:
        float32[pictures of the longest, 64, 128, 3] in [0, 1].
    """
    longest = max(map(len, outcome.seen))
    seen, imagined = outcome.seen[episode], outcome.imagined[episode]
    # What was imagined of the first picture is that picture.
    imagined = np.concatenate([seen[:1], imagined])
    both = np.concatenate([seen, imagined], axis=2)
    still = [(0, longest - len(both)), (0, 0), (0, 0), (0, 0)]
    return np.pad(both, still, mode="edge").astype(np.float32) / 255


def _text(
    model: MetaworldModel, guided: bool, stand: list[Robot]
) -> tuple[jax.Array, jax.Array | None]:
    """The tasks' embeddings, and empty ones where both branches run."""
    tasks = np.array([NAMES.index(robot.task) for robot in stand], np.int32)
    text = model.instruction_text(jnp.asarray(tasks))
    return text, jnp.zeros_like(text) if guided else None


def _shown(model: MetaworldModel, stand: list[Robot]) -> dict[str, Any]:
    """What all robots see; who begins an episode begins a window."""
    pictures = np.stack([robot.pictures for robot in stand])
    latents = _encoded(pictures)
    return {
        "latents": latents,
        "first": latents[:, :, -1:],
        "state": normalised_state(np.stack([robot.state for robot in stand]))[:, None],
        "restart": np.array([robot.begins for robot in stand]),
    }


@jax.jit
def _encoded(pictures: jax.Array) -> jax.Array:
    return latent.encode(pictures.astype(jnp.float32) / 255)


def _noise(
    model: MetaworldModel, key: jax.Array, turns: list[tuple[int, int]]
) -> dict[str, jax.Array]:
    """Each robot's noise, by the numbers of its episode and of the chunk in it."""
    shapes = {name: x.shape[1:] for name, x in model.noise_struct(1).items()}
    return _drawn(key, np.array(turns, np.int32), tuple(sorted(shapes.items())))


@functools.partial(jax.jit, static_argnums=2)
def _drawn(key: jax.Array, turns: jax.Array, shapes: Any) -> dict[str, jax.Array]:
    def one(turn: jax.Array) -> dict[str, jax.Array]:
        own = jax.random.fold_in(jax.random.fold_in(key, turn[0]), turn[1])
        keys = jax.random.split(own, len(shapes))
        return {
            name: jax.random.normal(k, shape, jnp.float32)
            for (name, shape), k in zip(shapes, keys, strict=True)
        }

    return jax.vmap(one)(turns)


def _outcome(told: list[Told]) -> Rollout:
    return Rollout(
        np.array([one.success for one in told]),
        np.array([one.steps for one in told], np.int32),
        np.array([one.model_calls for one in told], np.float32),
        tuple(one.task for one in told),
        [one.seen for one in told],
        [one.imagined for one in told],
    )
