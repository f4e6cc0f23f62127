"""What a model is shown, where it is a mapping of parts with names."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


def require_parts(observation: Any, wanted: Set[str]) -> None:
    """Checks the names in an observation.

    Args:
        observation: what was given.
        wanted: the names that it must have, and no others.

    Raises:
        ValueError: if it is no mapping, or has other names.
    """
    if not isinstance(observation, Mapping) or observation.keys() != wanted:
        raise ValueError(
            f"observation is {named(observation)}; the model takes {sorted(wanted)}"
        )


def named(observation: Any) -> str:
    """What an observation is called in errors: its names, or else its type."""
    if isinstance(observation, Mapping):
        return str(sorted(observation))
    return type(observation).__name__
