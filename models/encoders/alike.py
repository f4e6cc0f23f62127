"""What is alike of several robots, in as few calls as there need be.

A program is compiled for each number of rows. Calls of 8, 4, 2 and 1 rows make any
number of them with few programs, and no row is computed to be thrown away.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def pieces(count: int, most: int) -> Iterator[slice]:
    """Cuts rows into pieces of powers of two, the largest first.

    Args:
        count: rows.
        most: rows of a piece.

    Yields:
        The pieces, in order.
    """
    start = 0
    while start < count:
        size = 1 << (min(count - start, most).bit_length() - 1)
        yield slice(start, start + size)
        start += size


def calls(kinds: Sequence[Hashable], most: int) -> Iterator[list[int]]:
    """Puts what is of one kind into calls together.

    Args:
        kinds: of each.
        most: rows of a call.

    Yields:
        The indices of each call's rows.
    """
    alike: dict[Hashable, list[int]] = {}
    for i, kind in enumerate(kinds):
        alike.setdefault(kind, []).append(i)
    for indices in alike.values():
        for some in pieces(len(indices), most):
            yield indices[some]


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of NumPy arrays one above the other, along their first axis."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *x: np.concatenate(x), *trees)


def rows(tree: Any, count: int) -> list[Any]:
    """The rows of a tree of arrays, each with an axis of one."""
    return [tree] if count == 1 else _rows(tree)


@jax.jit
def _rows(tree: Any) -> list[Any]:
    count = jnp.shape(jax.tree.leaves(tree)[0])[0]
    return [jax.tree.map(lambda x, i=i: x[i : i + 1], tree) for i in range(count)]
