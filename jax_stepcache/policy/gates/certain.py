"""Steps that run whatever the signal says."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer


class Certain(NamedTuple):
    """Steps that run for one reason, given that all before them have run.

    A gate may have a method ``certain(num_steps)`` that returns a list of these, by its
    numbers as far as they are on the host. It is asked before anything is compiled.

    Attributes:
        steps: bool[num_steps], true where the span runs.
        why: the reason.
        meant: whether who asks for it can only want that nothing is reused.
    """

    steps: np.ndarray
    why: str
    meant: bool = False


def on_host(number: Any) -> np.ndarray | None:
    """A setting's value, where no device need be asked for it; else None."""
    if isinstance(number, np.ndarray | np.generic | int | float):
        return np.asarray(number)
    traced = any(isinstance(x, jax.Array | Tracer) for x in jax.tree.leaves(number))
    return None if traced else np.asarray(number)


def every_step(num_steps: int, why: str, meant: bool = False) -> list[Certain]:
    """All steps, for one reason."""
    return [Certain(np.ones(num_steps, bool), why, meant)]


def first_steps(num_steps: int, count: Any, why: str) -> list[Certain]:
    """So many steps at the beginning, for one reason."""
    return [Certain(np.arange(num_steps) < count, why)]


def steps_of(mask: np.ndarray, num_steps: int) -> np.ndarray:
    """A mask for so many steps; past its end nothing is forced."""
    steps = np.zeros(num_steps, bool)
    given = mask[:num_steps].astype(bool)
    steps[: len(given)] = given
    return steps
