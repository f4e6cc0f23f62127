"""One place among robots side by side: an episode after the other, of whatever task."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..worlds.message import IMAGE, PROMPT, SEED, STATE
from .sizes import BETWEEN, CHUNK, FRAMES, IMAGE_SIZE, STATE_SIZE
from .tasks import NAMES
from .world import World


class Told(NamedTuple):
    """What became of an episode.

    Attributes:
        task: its task's name.
        success: whether it was done within the deadline.
        steps: actions until then; the deadline plus one where it was not.
        model_calls: of the network for one chunk, on average.
        seen: uint8 (1 + 2 chunks, 64, 64, 3).
        imagined: uint8 (2 chunks, 64, 64, 3), or none of them.
        states: float32 (chunks, 4), where each chunk began.
    """

    task: str
    success: bool
    steps: int
    model_calls: float
    seen: np.ndarray
    imagined: np.ndarray
    states: np.ndarray


class Worlds:
    """Worlds that robots have for an episode each: a second to load, so kept."""

    def __init__(self) -> None:
        """Loads none yet."""
        self._free: dict[str, list[World]] = {}

    def taken(self, task: str) -> World:
        """A world of a task that nobody has."""
        free = self._free.setdefault(task, [])
        return free.pop() if free else World(task)

    def given_back(self, world: World) -> None:
        """Keeps a world for the next one."""
        self._free[world.task].append(world)

    def close(self) -> None:
        """Lets go of those that nobody has."""
        for worlds in self._free.values():
            for world in worlds:
                world.close()
        self._free = {}


class Robot:
    """Stateful, as its world is. Without an episode it stands there.

    Attributes:
        episode: the episode's number.
        task: its task's name.
        busy: whether there is an episode.
    """

    def __init__(self, worlds: Worlds, deadline: int) -> None:
        """Takes its place.

        Args:
            worlds: where it finds its own.
            deadline: actions of an episode.
        """
        self._worlds, self._deadline = worlds, deadline
        self._world: World | None = None
        self.busy = False
        self.episode, self.task, self._seed = 0, NAMES[0], 0
        self._states = [np.zeros(STATE_SIZE, np.float32)]
        self._seen = [np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)]
        self._imagined = [np.zeros((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)]
        self._calls: list[int] = []
        self._done: int | None = None

    def begin(self, episode: int, task: str, table: int, noise: int) -> None:
        """Lays the table for an episode.

        Args:
            episode: its number.
            task: its task's name.
            table: draws the places of object and goal.
            noise: draws the noise of the chunks that are imagined.
        """
        self._world = world = self._worlds.taken(task)
        self.episode, self.task, self._seed, self.busy = episode, task, noise, True
        self._states = [world.reset(table).state]
        self._seen, self._imagined = [world.picture()], self._imagined[:1]
        self._calls, self._done = [], None

    def message(self) -> dict[str, Any]:
        """What it sends: the pictures since the last time, hand, task and seed."""
        fresh = FRAMES if self._calls else 1
        return {
            IMAGE: np.stack(self._seen[-fresh:]),
            STATE: self._states[-1],
            PROMPT: self.task,
            SEED: self._seed,
        }

    def act(self, actions: np.ndarray, imagined: np.ndarray, calls: int) -> bool:
        """Acts out a chunk.

        Args:
            actions: float32 (8, 4).
            imagined: uint8 (2, 64, 64, 3), or none where nothing is told.
            calls: of the network, for this chunk.

        Returns:
            Whether the episode is over.
        """
        world = self._world
        assert world is not None  # or nobody would ask it to act
        begun = CHUNK * len(self._calls)
        if len(imagined):
            self._imagined.append(imagined)
        self._calls.append(calls)
        moment = None
        for i, action in enumerate(actions):
            moment = world.step(action)
            if moment.success and self._done is None:
                self._done = begun + i + 1
            if (i + 1) % BETWEEN == 0:
                self._seen.append(world.picture())
        if moment is not None:
            self._states.append(moment.state)
        return self._done is not None or begun + CHUNK >= self._deadline

    def ended(self) -> Told:
        """What became of the episode; the place is free then."""
        self.leave()
        return Told(
            self.task,
            self._done is not None,
            self._deadline + 1 if self._done is None else self._done,
            float(np.mean(self._calls)),
            np.stack(self._seen),
            np.concatenate(self._imagined),
            np.stack(self._states[:-1]),
        )

    def leave(self) -> None:
        """Gives its world back."""
        if self._world is not None:
            self._worlds.given_back(self._world)
        self._world, self.busy = None, False
