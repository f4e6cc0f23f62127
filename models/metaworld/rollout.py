"""Closed-loop episodes in Meta-World: look, imagine a chunk, act it out, look again.

Robots stand side by side, and are stepped together by the policy that a server would
serve them with; each one's cache decides for itself. Whoever is done makes room for the
next episode. An episode's table and noise depend on its number and the key alone: every
policy gets the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jax_stepcache.check import check_count, check_key
from jax_stepcache.network.params import Params
from jax_stepcache.serving.robots.policy import Reply

from ..dreamzero import LatentPipeline
from ..worlds.policy import WorldPolicy
from ..worlds.remote import RemotePolicy
from .episodes import FIRST_SEED
from .model import MetaworldModel
from .robot import Robot, Told, Worlds
from .sizes import CHUNK
from .tasks import NAMES, tasks_named

DEADLINE = 200
_ROBOTS = 8  # side by side
# Tables and noise begin at numbers below it, so that there are as many behind.
_MOST = FIRST_SEED // 2


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
        imagined: likewise uint8[2 chunks, 64, 64, 3], what had been imagined; none of a
            policy that does not tell.
        states: likewise float32[chunks, 4], where the hand was when it was asked.
        seconds: float32[rounds], what a control step of all robots took.
    """

    success: np.ndarray
    steps: np.ndarray
    model_calls: np.ndarray
    tasks: tuple[str, ...]
    seen: list[np.ndarray]
    imagined: list[np.ndarray]
    states: list[np.ndarray]
    seconds: np.ndarray


class Brain(Protocol):
    """Who says what robots do: a `Policy` here, or one behind a websocket."""

    def open(self) -> Any:
        """See `Policy.open`."""
        ...

    def step_many(
        self,
        sessions: Sequence[Any],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`."""
        ...

    def film(self, session: Any) -> np.ndarray:
        """See `Policy.film`."""
        ...


def rollout(
    params: Params,
    policy: Any,
    key: jax.Array,
    *,
    episodes: int,
    first: int = 0,
    tasks: tuple[str, ...] = NAMES,
    guidance_scale: float | None = None,
    deadline: int = DEADLINE,
    robots: int = _ROBOTS,
    num_inference_steps: int | None = None,
    **options: Any,
) -> Rollout:
    """Runs episodes, the tasks in turn.

    Args:
        params: Meta-World's.
        policy: the cache policy.
        key: draws the episodes.
        episodes: how many, of all tasks together.
        first: the number of the first one.
        tasks: names.
        guidance_scale: see `jax_stepcache.sample`.
        deadline: actions of an episode; a whole number of chunks.
        robots: side by side.
        num_inference_steps: see `jax_stepcache.sample`.
        **options: likewise, ``schedule``, ``solver``, ...

    Returns:
        The outcome.

    Raises:
        ValueError: for an unknown task, a deadline that is no whole number of chunks,
            or no episode.
        ImportError: without the simulator.
        OSError: where it cannot draw.
    """
    usual = params.model.defaults.num_inference_steps
    shared = {"cache": policy, **options}
    if num_inference_steps is not None:
        shared["num_inference_steps"] = num_inference_steps
    brain = WorldPolicy(
        LatentPipeline(params, guidance_scale=guidance_scale),
        max(usual, num_inference_steps or 0),
        **shared,
    )
    return play(
        brain,
        key,
        episodes=episodes,
        first=first,
        tasks=tasks,
        deadline=deadline,
        robots=robots,
    )


def play(
    brain: Brain,
    key: jax.Array,
    *,
    episodes: int,
    first: int = 0,
    tasks: tuple[str, ...] = NAMES,
    deadline: int = DEADLINE,
    robots: int = _ROBOTS,
) -> Rollout:
    """Runs episodes with a policy of any kind; see `rollout`.

    Args:
        brain: the policy.
        key: see `rollout`, like all others.
        episodes: likewise.
        first: likewise.
        tasks: likewise.
        deadline: likewise.
        robots: likewise.

    Returns:
        The outcome.

    Raises:
        ValueError: likewise.
        ImportError: likewise.
        OSError: likewise.
    """
    tasks = tasks_named(tasks)
    check_key(key)
    check_count("episodes", episodes, 1)
    check_count("robots", robots, 1)
    check_count("first", first, 0)
    if first + episodes > _MOST:
        raise ValueError(f"episodes {first} to {first + episodes}; there are {_MOST}")
    if deadline < 1 or deadline % CHUNK:
        raise ValueError(f"deadline is {deadline}; it must be a multiple of {CHUNK}")
    table, noise = (int(x) for x in jax.random.randint(key, (2,), 0, _MOST))
    numbers = range(first, first + episodes)
    waiting = iter(
        [
            (i, tasks[i % len(tasks)], table + i // len(tasks), noise + i)
            for i in numbers
        ]
    )
    worlds = Worlds()
    stand = [Robot(worlds, deadline) for _ in range(min(robots, episodes))]
    sessions = [brain.open() for _ in stand]
    ended: dict[int, Told] = {}
    seconds: list[float] = []
    try:
        for robot in stand:
            robot.begin(*next(waiting))
        while any(robot.busy for robot in stand):
            # Who has nothing to do is asked, too: so many robots are one program.
            messages = [robot.message() for robot in stand]
            begun = time.perf_counter()
            replies = brain.step_many(sessions, messages, [{}] * len(stand))
            seconds.append(time.perf_counter() - begun)
            sessions = [reply.session for reply in replies]
            for i, (robot, reply) in enumerate(zip(stand, replies, strict=True)):
                if not robot.busy:
                    continue
                imagined = brain.film(reply.session)
                if robot.act(reply.actions, imagined, int(reply.computed.sum())):
                    ended[robot.episode] = robot.ended()
                    sessions[i] = brain.open()
                    if (following := next(waiting, None)) is not None:
                        robot.begin(*following)
    finally:
        for robot in stand:
            robot.leave()
        worlds.close()
    return _outcome([ended[i] for i in numbers], seconds)


def served_rollout(server: str, key: jax.Array, **options: Any) -> Rollout:
    """Runs episodes with a policy server, which has the weights.

    Args:
        server: its URL, ``ws://host:port``.
        key: draws the episodes, as of `rollout`.
        **options: see `play`.

    Returns:
        The outcome, in which nothing is imagined.

    Raises:
        ValueError: see `play`; and if the server's policy is of another world.
        ImportError: without openpi's client, or the simulator.
        OSError: if there is no server, or where the simulator cannot draw.
    """
    brain = RemotePolicy(server)
    served = brain.metadata.get("policy")
    if served != MetaworldModel.name:
        raise ValueError(
            f"the server has a policy of {served!r}; start it with --params metaworld"
        )
    return play(brain, key, **options)


def film(outcome: Rollout, episode: int) -> np.ndarray:
    """An episode, seen beside imagined; both stand still once it is over.

    Args:
        outcome: of `rollout`.
        episode: which one.

    Returns:
        float32[pictures of the longest, 64, 128, 3] in [0, 1]; half as wide where
        nothing is told of what was imagined.
    """
    longest = max(map(len, outcome.seen))
    shown, imagined = outcome.seen[episode], outcome.imagined[episode]
    if len(imagined):
        # What was imagined of the first picture is that picture.
        imagined = np.concatenate([shown[:1], imagined])
        shown = np.concatenate([shown, imagined], axis=2)
    still = [(0, longest - len(shown)), (0, 0), (0, 0), (0, 0)]
    return np.pad(shown, still, mode="edge").astype(np.float32) / 255


def _outcome(told: list[Told], seconds: list[float]) -> Rollout:
    return Rollout(
        np.array([one.success for one in told]),
        np.array([one.steps for one in told], np.int32),
        np.array([one.model_calls for one in told], np.float32),
        tuple(one.task for one in told),
        [one.seen for one in told],
        [one.imagined for one in told],
        [one.states for one in told],
        np.array(seconds, np.float32),
    )
