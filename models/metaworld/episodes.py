"""Demonstrated episodes on disk: a file for each, so that a run may stop anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jax_stepcache.checkpoints.weights import load_weights, save_weights

from .segments import Segment
from .tasks import tasks_named

# Demonstrations begin here, and evaluations at 0: no policy is asked for an episode
# that it has been shown.
FIRST_SEED = 1_000_000


class Wanted(NamedTuple):
    """One episode that is to be there.

    Attributes:
        task: the task's name.
        seed: the episode's.
    """

    task: str
    seed: int

    def path(self, folder: Path) -> Path:
        """The episode's file in the folder of a run."""
        return folder / "episodes" / f"{self.task}-{self.seed}.safetensors"


def wanted_episodes(tasks: tuple[str, ...], episodes: int, seed: int) -> list[Wanted]:
    """Episodes of a run, the tasks in turn: of one that was stopped, all have some.

    Args:
        tasks: names.
        episodes: of each task.
        seed: of the run; runs with different ones share no episode.

    Returns:
        The episodes.

    Raises:
        ValueError: for no episode, more than a run can have, a negative seed or tasks
            that are not there.
    """
    if not 1 <= episodes <= FIRST_SEED:
        raise ValueError(f"episodes is {episodes}; it must be 1 to {FIRST_SEED}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0")
    first = FIRST_SEED * (1 + seed)
    names = tasks_named(tasks)
    return [Wanted(task, first + i) for i in range(episodes) for task in names]


def save_episode(folder: Path, episode: Wanted, segments: list[Segment]) -> None:
    """Writes an episode; one without segments says that the expert failed.

    Args:
        folder: of the run.
        episode: which one.
        segments: what was shown.
    """
    path = episode.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {str(i): segment._asdict() for i, segment in enumerate(segments)}
    told = {"task": episode.task, "seed": str(episode.seed)}
    save_weights(path, arrays, {**told, "segments": str(len(segments))})


def load_episode(folder: Path, episode: Wanted) -> list[Segment]:
    """Reads an episode.

    Args:
        folder: of the run.
        episode: which one.

    Returns:
        Its segments.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if the file is damaged, or of something else.
    """
    path = episode.path(folder)
    arrays, told = load_weights(path)
    if told.get("task") != episode.task or "segments" not in told:
        raise ValueError(f"{path} is no episode of {episode.task}")
    found = [arrays[str(i)] for i in range(int(told["segments"]))]
    return [Segment(**{k: np.asarray(x) for k, x in one.items()}) for one in found]
