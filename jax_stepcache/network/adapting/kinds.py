"""What the kinds of networks have in common: blocks that are called, or stacked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jax_stepcache.errors import brief, nearest

Path = tuple[str, ...]


class Network(Protocol):
    """A network that can be called with its blocks marked."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks that are called one by one, in order."""
        ...

    @property
    def count(self) -> int:
        """How many blocks there are, stacked ones included."""
        ...

    def stacked(self, weights: Any) -> list[Any]:
        """The arrays of stacked blocks."""
        ...

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """Calls the network, with its blocks marked or as it is."""
        ...


def plainly_called(network: Any, sample: Any, t: Any, condition: Any) -> Any:
    """How a network is called unless one says."""
    return network(sample, t, condition)


def is_array(x: Any) -> bool:
    """Whether something is an array, traced or not."""
    return isinstance(x, jax.Array | np.ndarray)


def stacked_count(arrays: Sequence[Any], what: str) -> int:
    """How many blocks are stacked, by the first axis of all their arrays.

    Args:
        arrays: of the blocks.
        what: how they were told of.

    Raises:
        ValueError: if there are none, or they do not agree.
    """
    shapes = [np.shape(x) for x in arrays]
    lengths = sorted({shape[0] if shape else 0 for shape in shapes})
    if len(lengths) != 1 or lengths[0] < 1:
        found = sorted(set(map(str, shapes)))[:4]
        raise ValueError(
            f"{what} gives no stacked blocks: the first axis of stacked weights is "
            f"that of the blocks, the same for all; {len(arrays)} arrays, of shapes "
            f"{', '.join(found) or 'none'}. Blocks that are called one by one are "
            'given as a list, or by a name with an asterisk ("block_*")'
        )
    return lengths[0]


def blocks_of(blocks: Any, module: Any, name: str = "blocks") -> Any:
    """What a function from a module to its blocks gives.

    Args:
        blocks: the function.
        module: what it is given.
        name: of the argument, for the error.

    Raises:
        ValueError: if it reads what is not there, naming the nearest.
    """
    try:
        return blocks(module)
    except AttributeError as error:
        known = getattr(error.obj or module, "__dict__", ())
        near = nearest(error.name, [x for x in known if not x.startswith("_")])
        said = str(error).rstrip(".")
        raise ValueError(
            f"{name}= asks for what is not there: {said}.{near}"
        ) from error
    except (TypeError, LookupError) as error:
        raise ValueError(
            f"{name}= fails on a {type(module).__name__}: {error}. It reads a part of "
            f"it, such as lambda n: n.{'blocks' if name == 'blocks' else 'attn'}"
        ) from error


def no_names(blocks: Any) -> str:
    """Words for no blocks at all."""
    return (
        f"blocks= gives none ({brief(blocks)}); it must give the blocks, or name them"
    )


def matched(tree: Any, pattern: Any) -> list[Path]:
    """Paths in a tree of weights that fit a pattern, in the order of their numbers.

    Args:
        tree: nested mappings.
        pattern: names with ``/`` between them; ``*`` stands for anything within one.

    Returns:
        The paths.

    Raises:
        TypeError: if it is no text.
        ValueError: if none fits, naming the nearest.
    """
    if not isinstance(pattern, str):
        raise TypeError(
            f"blocks is {brief(pattern)}; give a name among the weights, such as "
            f"{_some(tree)}"
        )
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"the weights are {brief(tree)}; they must be a dict, in which blocks="
            f"{pattern!r} is a name"
        )
    paths = list(_paths(tree, ()))
    wanted = pattern.strip("/").split("/")
    found = [
        path
        for path in paths
        if len(path) == len(wanted) and all(map(fnmatch.fnmatchcase, path, wanted))
    ]
    if not found:
        known = sorted({"/".join(path) for path in paths if len(path) == len(wanted)})
        near = nearest(pattern, {*known, *(re.sub(r"\d+$", "*", x) for x in known)})
        raise ValueError(
            f"blocks={pattern!r} fits no name among the weights.{near} There are, for "
            f"instance: {known[:12]}"
        )
    return sorted(found, key=_by_numbers)


def under(tree: Any, path: Path) -> Any:
    """What lies at a path; None if nothing does."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _some(tree: Any) -> str:
    names = [repr(str(x)) for x in tree][:4] if isinstance(tree, Mapping) else []
    return ", ".join(names) or '"blocks"'


def _by_numbers(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", "/".join(path))
    return [(int(x), "") if x.isdigit() else (-1, x) for x in parts]


def _paths(tree: Any, path: Path) -> Iterator[Path]:
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield (*path, str(name))
            yield from _paths(part, (*path, str(name)))
