"""One place in a batch of robots: an episode after the other, in whatever task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .sizes import BETWEEN, CHUNK, FRAMES, IMAGE_SIZE, STATE_SIZE
from .world import World


class Told(NamedTuple):
    """What became of an episode.

    Attributes:
        task: its task's name.
        success: whether it was done within the deadline.
        steps: actions until then; the deadline plus one where it was not.
        model_calls: of the network for one chunk, on average.
        seen: uint8 (1 + 2 chunks, 64, 64, 3).
        imagined: uint8 (2 chunks, 64, 64, 3).
    """

    task: str
    success: bool
    steps: int
    model_calls: float
    seen: np.ndarray
    imagined: np.ndarray


class Robot:
    """Stateful, as its world is. Without an episode it stands there and is not asked.

    Attributes:
        episode: the episode's number.
        task: its task's name.
        busy: whether there is an episode.
    """

    def __init__(self, deadline: int) -> None:
        """Takes its place.

        Args:
            deadline: actions of an episode.
        """
        self._deadline = deadline
        self._worlds: dict[str, World] = {}
        self.busy = False
        self.episode, self.task, self._chunks = 0, "", 0
        self._state = np.zeros(STATE_SIZE, np.float32)
        self._seen = [np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)]
        self._imagined: list[np.ndarray] = []
        self._calls: list[int] = []
        self._done: int | None = None

    @property
    def begins(self) -> bool:
        """Whether nothing has been seen but the first picture."""
        return self._chunks == 0

    @property
    def turn(self) -> tuple[int, int]:
        """The episode's number, and that of its chunk."""
        return self.episode, self._chunks

    @property
    def state(self) -> np.ndarray:
        """What it feels, float32 (4,)."""
        return self._state

    @property
    def pictures(self) -> np.ndarray:
        """The last two, uint8 (2, 64, 64, 3); at first the only one, twice."""
        return np.stack(([self._seen[0], *self._seen])[-FRAMES:])

    def begin(self, episode: int, task: str, seed: int) -> None:
        """Lays the table for an episode."""
        if task not in self._worlds:
            self._worlds[task] = World(task)
        world = self._worlds[task]
        self.episode, self.task, self.busy, self._chunks = episode, task, True, 0
        self._state = world.reset(seed).state
        self._seen, self._imagined = [world.picture()], []
        self._calls, self._done = [], None

    def act(self, actions: np.ndarray, imagined: np.ndarray, calls: int) -> bool:
        """Acts out a chunk, or what is left to do of it.

        Args:
            actions: float32 (8, 4).
            imagined: float32 (2, 64, 64, 3) in [0, 1].
            calls: of the network, for this chunk.

        Returns:
            Whether the episode is over.
        """
        world = self._worlds[self.task]
        self._imagined += list(np.round(255 * imagined).astype(np.uint8))
        self._calls.append(calls)
        for i, action in enumerate(actions):
            moment = world.step(action)
            self._state = moment.state
            if moment.success and self._done is None:
                self._done = CHUNK * self._chunks + i + 1
            if (i + 1) % BETWEEN == 0:
                self._seen.append(world.picture())
        self._chunks += 1
        return self._done is not None or CHUNK * self._chunks >= self._deadline

    def ended(self) -> Told:
        """What became of the episode; the place is free then."""
        self.busy = False
        return Told(
            self.task,
            self._done is not None,
            self._deadline + 1 if self._done is None else self._done,
            float(np.mean(self._calls)),
            np.stack(self._seen),
            np.stack(self._imagined),
        )

    def close(self) -> None:
        """Lets go of its worlds."""
        for world in self._worlds.values():
            world.close()
