"""One prompt, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax_stepcache.errors import brief


def texts(prompt: Any, what: str, count: int | None = None) -> tuple[str, ...]:
    """Takes one text or several.

    Args:
        prompt: a string, or a sequence of them.
        what: its name, for errors.
        count: how many there must be; one string stands for all of them.

    Returns:
        The texts.

    Raises:
        TypeError: if something is no string.
        ValueError: if there is none, or another number.
    """
    if isinstance(prompt, str):
        return (prompt,) * (1 if count is None else count)
    if not isinstance(prompt, Sequence):
        raise TypeError(f"{what} is {brief(prompt)}; give a string, or several")
    for i, text in enumerate(prompt):
        if not isinstance(text, str):
            raise TypeError(f"{what}[{i}] is {brief(text)}; give a string")
    if not len(prompt):
        raise ValueError(f"{what} is empty; give at least one")
    if count is not None and len(prompt) != count:
        raise ValueError(f"{what} has {len(prompt)} texts; there are {count} prompts")
    return tuple(prompt)
