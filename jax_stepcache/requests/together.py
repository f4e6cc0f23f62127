"""Requests in groups of one size, so that one program serves all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from jax_stepcache.requests.places import Entry

T = TypeVar("T")

# More in a group save little: a call of a program is shared by these already.
MOST = 32


class Group(NamedTuple):
    """Some of a sequence.

    Attributes:
        start: the index of the first.
        items: these, and where a group is not full, the last again.
    """

    start: int
    items: tuple[Any, ...]


def groups(items: Sequence[T], size: int) -> Iterator[Group]:
    """Cuts a sequence into groups of one size.

    Args:
        items: at least one.
        size: of each group.

    Yields:
        The groups. The last one reaches back into the one before it; where it is the
        only one, it is filled up.
    """
    for full in range(0, len(items), size):
        start = max(min(full, len(items) - size), 0)
        some = tuple(items[start : start + size])
        yield Group(start, some + some[-1:] * (size - len(some)))


def group_size(count: int) -> int:
    """The size of groups of so many; counts up to a power of two have one."""
    return min(MOST, 1 << (count - 1).bit_length())


def put_together(entries: Sequence[Entry]) -> Entry:
    """Entries as one, for a single program to take.

    Args:
        entries: of the same structure and shapes.

    Returns:
        An entry. Where all have arrays of the host they are stacked, which is one array
        to send; arrays on a device are a tuple of them.
    """

    def stack(*each: Any) -> Any:
        if all(isinstance(x, np.ndarray | np.generic) for x in each):
            return np.stack(each)
        return each

    return jax.tree.map(stack, *entries)
