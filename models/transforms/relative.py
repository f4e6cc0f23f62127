"""Actions told as differences from the state in which they begin, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .chain import taken


@dataclass(frozen=True)
class ToRelative:
    """Takes a state off a chunk of actions.

    Attributes:
        action: the part with the actions, (..., A, n).
        state: the part with the state when they begin, (..., n).
    """

    action: str
    state: str

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Absolute actions become relative ones."""
        return _moved(observation, self.action, self.state, -1)

    @property
    def inverse(self) -> ToAbsolute:
        """Adds it again."""
        return ToAbsolute(self.action, self.state)


@dataclass(frozen=True)
class ToAbsolute:
    """Adds a state to a chunk of actions: the same one to all of them.

    Attributes:
        action: the part with the actions, (..., A, n).
        state: the part with the state when they begin, (..., n).
    """

    action: str
    state: str

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Relative actions become absolute ones."""
        return _moved(observation, self.action, self.state, 1)

    @property
    def inverse(self) -> ToRelative:
        """Takes it off again."""
        return ToRelative(self.action, self.state)


def _moved(
    observation: Mapping[str, Any], action: str, state: str, sign: int
) -> dict[str, Any]:
    actions, reference = taken(observation, action), taken(observation, state)
    return {**observation, action: actions + sign * reference[..., None, :]}
