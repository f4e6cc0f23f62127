"""Transforms of observations in a row, and functions of one array made transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jax_stepcache.errors import unknown_name


class Transform(Protocol):
    """From an observation to an observation; neither is changed in place."""

    def __call__(self, observation: Mapping[str, Any], /) -> dict[str, Any]:
        """The observation after it."""
        ...


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other; itself a transform, so chains nest.

    Attributes:
        parts: in the order in which they are applied.
    """

    parts: tuple[Transform, ...]

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Applies all parts."""
        result = dict(observation)
        for part in self.parts:
            result = part(result)
        return result

    @property
    def inverse(self) -> Chain:
        """The way back: the parts' inverses, the last one first.

        Raises:
            TypeError: naming a part that loses something, and so has none.
        """
        return Chain(tuple(_inverse_of(part) for part in self.parts[::-1]))


@dataclass(frozen=True)
class On:
    """Applies a function of one array to some parts of an observation.

    Attributes:
        keys: which parts; the others are passed on.
        function: from array to array. If it has an ``inverse``, this has one.
    """

    keys: tuple[str, ...]
    function: Callable[[Any], Any]

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Applies the function.

        Raises:
            ValueError: if a part is missing.
        """
        return {
            **observation,
            **{key: self.function(taken(observation, key)) for key in self.keys},
        }

    @property
    def inverse(self) -> On:
        """The inverse function on the same parts.

        Raises:
            TypeError: if the function has none.
        """
        return On(self.keys, _inverse_of(self.function))


def taken(observation: Mapping[str, Any], key: str) -> Any:
    """A part of an observation.

    Raises:
        ValueError: if it is missing, with the nearest name.
    """
    if key not in observation:
        raise ValueError(
            f"the observation lacks {key!r}: "
            + unknown_name("part of it", key, observation)
        )
    return observation[key]


def _inverse_of(part: Any) -> Any:
    if not hasattr(type(part), "inverse"):
        raise TypeError(f"{part!r:.80} has no inverse: it loses what went in")
    return part.inverse
