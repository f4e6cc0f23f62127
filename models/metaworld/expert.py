"""Meta-World's scripted experts, shaken on their way: demonstrations that recover.

An expert that is never off its way shows nobody how to come back to it. So the hand is
pushed aside between demonstrations, and its actions are disturbed while the expert's
own are recorded. Laskey and others 2017, "DART: Noise injection for robust imitation
learning".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .segments import Segment
from .sizes import ACTION_SIZE, BETWEEN, CHUNK
from .tasks import task_named
from .world import Moment, World

DEADLINE = 240  # actions of an episode, at most
_AFTERWARDS = 3 * CHUNK  # actions that are shown once the task is done
_AT_FIRST, _ON_THE_WAY = 0.5, 0.5  # shares of episodes with such a push
_LATEST = 60  # actions before which that on the way comes
_PUSH = (4, 24)  # actions, at least and fewer than
_LOUDEST = 0.35  # standard deviation of the disturbance
_QUIET = 0.25  # share of episodes without
_KEPT = 0.8  # of the disturbance from one action to the next

Expert = Callable[[np.ndarray], np.ndarray]


def expert_of(task: str) -> Expert:
    """The scripted expert of a task.

    Args:
        task: its name.

    Returns:
        From Meta-World's full observation to float32 (4,) in [-1, 1].

    Raises:
        ValueError: for an unknown task.
        ImportError: without Meta-World.
    """
    name = task_named(task).expert
    import metaworld.policies as scripts  # pyright: ignore[reportMissingImports]

    scripted = getattr(scripts, name)()

    def act(full: np.ndarray) -> np.ndarray:
        return np.clip(scripted.get_action(full), -1, 1).astype(np.float32)

    return act


def demonstrate(world: World, expert: Expert, seed: int) -> list[Segment]:
    """One episode.

    Args:
        world: the robot.
        expert: of its task.
        seed: of the episode: places, pushes and disturbances.

    Returns:
        Its segments, in order; none if the task was not done by the deadline.
    """
    rng = np.random.default_rng(seed)
    moment = world.reset(seed)
    loudness = 0.0 if rng.random() < _QUIET else rng.uniform(0, _LOUDEST)
    pushes = _pushes(rng)
    segments: list[Segment] = []
    shown = _Shown(world)
    noise = np.zeros(ACTION_SIZE)
    done = 0
    for step in range(DEADLINE):
        if step in pushes and not done:
            segments += shown.ended(moment)
            shown = _Shown(world)
            moment = _pushed(world, rng)
        action = expert(moment.full)
        shown.add(moment, action)
        fresh = rng.standard_normal(ACTION_SIZE) * loudness
        noise = _KEPT * noise + np.sqrt(1 - _KEPT**2) * fresh
        moment = world.step(action + noise)
        done += bool(done or moment.success)
        if done >= _AFTERWARDS and (step + 1) % BETWEEN == 0:
            return segments + shown.ended(moment)
    return []


def _pushes(rng: np.random.Generator) -> set[int]:
    """Before which actions the hand is pushed; always where a picture is taken."""
    pushes = {0} if rng.random() < _AT_FIRST else set()
    if rng.random() < _ON_THE_WAY:
        pushes.add(BETWEEN * int(rng.integers(1, _LATEST // BETWEEN)))
    return pushes


def _pushed(world: World, rng: np.random.Generator) -> Moment:
    aside = rng.uniform(-1, 1, ACTION_SIZE)
    for _ in range(int(rng.integers(*_PUSH)) - 1):
        world.step(aside)
    return world.step(aside)


class _Shown:
    """A segment that grows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._frames: list[np.ndarray] = []
        self._states: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []

    def add(self, moment: Moment, action: np.ndarray) -> None:
        """Before an action is taken."""
        if len(self._actions) % BETWEEN == 0:
            self._frames.append(self._world.picture())
        self._states.append(moment.state)
        self._actions.append(action)

    def ended(self, moment: Moment) -> list[Segment]:
        """The segment, where anything was shown in it."""
        if not self._actions:
            return []
        frames = [*self._frames, self._world.picture()]
        states = [*self._states, moment.state]
        return [Segment(np.stack(frames), np.stack(states), np.stack(self._actions))]
