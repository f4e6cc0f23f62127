"""The tasks of Meta-World that are learned here, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from jax_stepcache.errors import unknown_name


class Task(NamedTuple):
    """One of Meta-World's tasks.

    Attributes:
        environment: its name in Meta-World.
        expert: the class of the scripted policy in `metaworld.policies`.
        marked: whether a ball marks the goal, which nothing else in the picture shows.
    """

    environment: str
    expert: str
    marked: bool


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "reach": Task("reach-v3", "SawyerReachV3Policy", True),
        "button-press-topdown": Task(
            "button-press-topdown-v3", "SawyerButtonPressTopdownV3Policy", False
        ),
        "drawer-open": Task("drawer-open-v3", "SawyerDrawerOpenV3Policy", False),
        "push": Task("push-v3", "SawyerPushV3Policy", True),
    }
)
"""By the prompt that asks for them."""

NAMES = tuple(TASKS)


def task_named(name: str) -> Task:
    """A task by its name.

    Args:
        name: one of `NAMES`.

    Returns:
        The task.

    Raises:
        ValueError: for another name, with the nearest one.
    """
    if name not in TASKS:
        raise ValueError(unknown_name("task", name, TASKS))
    return TASKS[name]


def tasks_named(names: Iterable[str]) -> tuple[str, ...]:
    """Checks names of tasks, and that none is there twice.

    Raises:
        ValueError: for an unknown name, a repeated one, or none at all.
    """
    names = tuple(names)
    for name in names:
        task_named(name)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"tasks are {list(names)}; name each once: {list(NAMES)}")
    return names
