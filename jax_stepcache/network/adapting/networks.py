"""Networks of several kinds, called with their blocks marked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from jax_stepcache.check import described
from jax_stepcache.errors import nearest
from jax_stepcache.network.adapting.marks import Marked, marked_call


class Network(Protocol):
    """A network that can be called with its blocks marked.

    Attributes:
        names: of the blocks that are called one by one, in order.
        count: how many blocks there are.
    """

    names: tuple[str, ...]
    count: int

    def stacked(self, weights: Any) -> list[Any]:
        """The arrays of stacked blocks; empty where they are called one by one."""
        ...

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """Calls the network."""
        ...


@dataclass(frozen=True, eq=False)
class ModuleNetwork:
    """A Flax NNX module, or one of another kind that is a pytree.

    Attributes:
        merge: makes the module of its weights, anew.
        call: ``(module, sample, t, condition)`` to the velocity.
        blocks: ``module`` to its blocks.
        modulated: a block to the part of it whose input is looked at; or None.
        names: see `Network`.
        count: likewise.
    """

    merge: Callable[[Any], Any]
    call: Callable[[Any, Any, Any, Any], Any]
    blocks: Callable[[Any], Any]
    modulated: Callable[[Any], Any] | None
    names: tuple[str, ...]
    count: int

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        if self.names:
            return []
        return arrays_of(self.blocks(self.merge(weights)))

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
        module = self.merge(weights)
        if marked:
            module = self._marked(module)
        return self.call(module, sample, t, condition)

    def _marked(self, module: Any) -> Any:
        found = self.blocks(module)
        each = flat_blocks(found) if self.names else [found]
        marks: dict[int, Callable[[Any], Any]] = {}
        if self.modulated is not None:
            marks[id(self.modulated(each[0]))] = lambda x: Marked(x, 0, look=True)
        if self.names:
            for i, block in enumerate(each):
                marks[id(block)] = lambda x, i=i: Marked(x, i)
        return _replaced(module, marks, set())


@dataclass(frozen=True, eq=False)
class LinenNetwork:
    """A Flax Linen module.

    Attributes:
        module: the module.
        call: ``(module, sample, t, condition)`` to the velocity.
        paths: of the blocks in it; one, where they are stacked.
        modulated: the name of the part of a block whose input is looked at; or None.
        names: see `Network`.
        count: likewise.
    """

    module: Any
    call: Callable[[Any, Any, Any, Any], Any]
    paths: tuple[tuple[str, ...], ...]
    modulated: str | None
    names: tuple[str, ...]
    count: int

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        return [] if self.names else arrays_of(_under(weights, self.paths[0]))

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
        import flax.linen

        if not marked:
            return self._applied(weights, sample, t, condition)
        places = {path: i for i, path in enumerate(self.paths)} if self.names else {}
        looked = None
        if self.modulated is not None:
            looked = (*self.paths[0], *self.modulated.split("/"))
        inside: set[Any] = set()

        def intercepted(call: Any, args: Any, kwargs: Any, about: Any) -> Any:
            path = tuple(about.module.path)
            look = path == looked
            # What is lifted calls itself once more within.
            known = about.method_name == "__call__" and (look or path in places)
            if not known or path in inside:
                return call(*args, **kwargs)
            inside.add(path)
            try:
                return marked_call(call, args, kwargs, places.get(path, 0), look)
            finally:
                inside.discard(path)

        with flax.linen.intercept_methods(intercepted):
            return self._applied(weights, sample, t, condition)

    def _applied(self, weights: Any, *given: Any) -> Any:
        return self.module.apply(weights, *given, method=self.call)


@dataclass(frozen=True, eq=False)
class FunctionNetwork:
    """A function that scans over stacked weights.

    Attributes:
        call: ``(weights, sample, t, condition)`` to the velocity.
        path: of the stacked weights among the others.
        names: none.
        count: see `Network`.
    """

    call: Callable[[Any, Any, Any, Any], Any]
    path: tuple[str, ...]
    names: tuple[str, ...]
    count: int

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        return arrays_of(_under(weights, self.path))

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
        del marked
        return self.call(weights, sample, t, condition)


def flat_blocks(blocks: Any) -> list[Any]:
    """Blocks of one list, or of several, one behind the other."""
    if isinstance(blocks, Mapping):
        blocks = list(blocks.values())
    if _is_list(blocks):
        return [block for part in blocks for block in flat_blocks(part)]
    return [blocks]


def is_listed(blocks: Any) -> bool:
    """Whether blocks are told one by one."""
    return _is_list(blocks)


def arrays_of(tree: Any) -> list[Any]:
    """The arrays of a module, or of any pytree."""
    from flax import nnx

    if isinstance(tree, nnx.Module):
        tree = nnx.state(tree)
    leaves = jax.tree.leaves(tree)
    return [x for x in leaves if isinstance(x, jax.Array | np.ndarray)]


def stacked_count(arrays: Sequence[Any]) -> int | None:
    """How many blocks are stacked, by the first axis of all arrays; None if they differ.

    Args:
        arrays: those of the blocks.
    """
    arrays = [x for x in arrays if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)]
    lengths = {np.shape(x)[:1] for x in arrays}
    return lengths.pop()[0] if len(lengths) == 1 and () not in lengths else None


def matched(tree: Any, pattern: str) -> list[tuple[str, ...]]:
    """Paths in a tree of weights that fit a pattern, in the order of their numbers.

    Args:
        tree: nested mappings.
        pattern: names with ``/`` between them; ``*`` stands for anything within one.

    Returns:
        The paths.

    Raises:
        ValueError: if none fits, naming the nearest.
    """
    paths = list(_paths(tree, ()))
    wanted = pattern.strip("/").split("/")
    found = [
        path
        for path in paths
        if len(path) == len(wanted)
        and all(map(fnmatch.fnmatchcase, path, wanted))
    ]
    if not found:
        known = sorted({"/".join(path) for path in paths if len(path) == len(wanted)})
        raise ValueError(
            f"blocks={pattern!r} fits no name among the weights."
            f"{nearest(pattern, known)} There are, for instance: {known[:12]}"
        )
    return sorted(found, key=_by_numbers)


def _by_numbers(path: tuple[str, ...]) -> list[Any]:
    parts = re.split(r"(\d+)", "/".join(path))
    return [(int(x), "") if x.isdigit() else (-1, x) for x in parts]


def _paths(tree: Any, path: tuple[str, ...]) -> Any:
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield (*path, str(name))
            yield from _paths(part, (*path, str(name)))


def _under(weights: Any, path: Sequence[str]) -> Any:
    """What lies at a path, in each of Linen's collections or in plain weights."""
    found = []
    trees = [weights]
    if isinstance(weights, Mapping) and "params" in weights:
        trees = list(weights.values())
    for tree in trees:
        for name in path:
            tree = tree.get(name) if isinstance(tree, Mapping) else None
        found.append(tree)
    return found


def _is_list(x: Any) -> bool:
    from flax import nnx

    return isinstance(x, list | tuple | nnx.List)


def _replaced(node: Any, marks: Mapping[int, Callable[[Any], Any]], seen: set) -> Any:
    """A module with parts of it replaced; it was made anew, and is changed in place."""
    kind = id(node)
    if isinstance(node, list | tuple) and not hasattr(node, "_fields"):
        parts = [_replaced(x, marks, seen) for x in node]
        changed = any(x is not y for x, y in zip(parts, node, strict=True))
        return type(node)(parts) if changed else node
    if isinstance(node, dict):
        return {name: _replaced(x, marks, seen) for name, x in node.items()}
    if kind not in seen and _has_parts(node):
        seen.add(kind)
        inside = vars(node)
        for name in [name for name in inside if not name.startswith("_pytree__")]:
            inside[name] = _replaced(inside[name], marks, seen)
    return marks[kind](node) if kind in marks else node


def _has_parts(node: Any) -> bool:
    from flax import nnx

    if isinstance(node, type | Marked | nnx.Variable) or not hasattr(node, "__dict__"):
        return False
    return isinstance(node, nnx.Module) or not jax.tree_util.all_leaves([node])


def told(blocks: Any) -> str:
    """What was given for blocks, in words."""
    return blocks if isinstance(blocks, str) else described(blocks)
