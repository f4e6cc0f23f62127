"""Modules that hold their weights: Flax NNX's, and others that are pytrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jax_stepcache.check import structs_of
from jax_stepcache.errors import brief
from jax_stepcache.network.adapting.kinds import (
    blocks_of,
    is_array,
    plainly_called,
    stacked_count,
)
from jax_stepcache.network.adapting.marks import Marked
from jax_stepcache.network.adapting.problems import misfit
from jax_stepcache.network.called import asking, check_takes


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
        like: structs of its weights.
        of: the name of its class.
    """

    merge: Callable[[Any], Any]
    call: Callable[[Any, Any, Any, Any], Any]
    blocks: Callable[[Any], Any]
    modulated: Callable[[Any], Any] | None
    names: tuple[str, ...]
    count: int
    like: Any = field(repr=False)
    of: str

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        if self.names:
            return []
        found = _flat(self.blocks(self.merge(weights)))
        return [x for stack in found for x in _arrays(stack)]

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
        with asking(self.of, sample, condition, lambda: misfit(weights, self.like)):
            module = self.merge(weights)
            if marked:
                module = self._marked(module)
            return self.call(module, sample, t, condition)

    def _marked(self, module: Any) -> Any:
        each = _flat(self.blocks(module))
        marks: dict[int, Callable[[Any], Any]] = {}
        if self.modulated is not None:
            marks[id(self.modulated(each[0]))] = lambda x: Marked(x, 0, look=True)
        if self.names:
            for i, block in enumerate(each):
                marks[id(block)] = lambda x, i=i: Marked(x, i)
        return _replaced(module, marks, set())


def module_network(
    module: Any, blocks: Any, call: Any, modulated: Any
) -> tuple[Any, ModuleNetwork]:
    """Looks at a module; see `adapt`.

    Returns:
        Its weights, and the network.

    Raises:
        TypeError: if blocks, or what is looked at, are given in another way.
        ValueError: if there are none.
    """
    for name, given in (("blocks", blocks), ("modulated", modulated)):
        if name == "modulated" and given is None:
            continue
        if not callable(given):
            raise TypeError(
                f"{name} is {brief(given)}; of a module that holds its weights it is a "
                f"function, such as lambda {name[0]}: {name[0]}."
                + ("blocks" if name == "blocks" else "attn")
            )
        check_takes(name, given, ("network" if name == "blocks" else "block",))
    found = blocks_of(blocks, module)
    each = _flat(found)
    if not each:
        raise ValueError("blocks= gives an empty list; it must give the blocks")
    listed = _is_list(found)
    odd = [x for x in each if not callable(x)]
    again = next((x for i, x in enumerate(each) if any(x is y for y in each[:i])), None)
    if listed and again is not None:
        raise ValueError(
            f"blocks= gives one {type(again).__name__} more than once; it must give "
            "each block once, in the order of the calls"
        )
    if listed and odd:
        raise TypeError(
            f"blocks= gives {brief(odd[0])} among others, which is not called; give "
            "the modules, or what is stacked on its own, without a list around it"
        )
    if modulated is not None and not callable(
        blocks_of(modulated, each[0], "modulated")
    ):
        raise TypeError("modulated= gives something that a block cannot call")
    names = tuple(f"block {i}" for i in range(len(each))) if listed else ()
    count = len(each)
    if not listed:
        count = sum(stacked_count(_arrays(stack), "blocks=") for stack in each)
    weights, merge = _taken_apart(module)
    how = call or plainly_called
    like, of = structs_of(weights), type(module).__name__
    return weights, ModuleNetwork(merge, how, blocks, modulated, names, count, like, of)


def _taken_apart(module: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The weights of a module, and what makes the module of them."""
    from flax import nnx

    if isinstance(module, nnx.Module):
        graph, weights = nnx.split(module)
        return weights, lambda weights: nnx.merge(graph, weights)
    leaves, structure = jax.tree.flatten(module)
    weights = jax.tree.unflatten(
        structure, [x if is_array(x) else None for x in leaves]
    )
    rest = [None if is_array(x) else x for x in leaves]
    held = [is_array(x) for x in leaves]

    def merge(weights: Any) -> Any:
        given = iter(jax.tree.leaves(weights))
        each = [
            next(given) if is_held else x for is_held, x in zip(held, rest, strict=True)
        ]
        return jax.tree.unflatten(structure, each)

    return weights, merge


def _arrays(tree: Any) -> list[Any]:
    """The arrays of a module, or of any pytree."""
    from flax import nnx

    return [
        x
        for x in jax.tree.leaves(
            nnx.state(tree) if isinstance(tree, nnx.Module) else tree
        )
        if is_array(x)
    ]


def _is_list(x: Any) -> bool:
    from flax import nnx

    return isinstance(x, list | tuple | nnx.List) and not hasattr(x, "_fields")


def _flat(blocks: Any) -> list[Any]:
    """Blocks of one list, or of several, one behind the other; or what is stacked."""
    if _is_list(blocks):
        return [block for part in blocks for block in _flat(part)]
    # Weights of a Linen module within one of NNX are dicts too.
    if type(blocks) is dict and all(map(callable, blocks.values())):
        return list(blocks.values())
    return [blocks]


def _replaced(node: Any, marks: Mapping[int, Callable[[Any], Any]], seen: set) -> Any:
    """A module with parts of it replaced; it was made anew, and is changed in place."""
    from flax import nnx

    kind = id(node)
    if isinstance(node, list | tuple) and not hasattr(node, "_fields"):
        parts = [_replaced(x, marks, seen) for x in node]
        changed = any(x is not y for x, y in zip(parts, node, strict=True))
        return type(node)(parts) if changed else node
    if type(node) is dict:
        return {name: _replaced(x, marks, seen) for name, x in node.items()}
    opaque = isinstance(node, type | Marked | nnx.Variable)
    has_parts = isinstance(node, nnx.Module) or not jax.tree_util.all_leaves([node])
    if kind not in seen and not opaque and has_parts and hasattr(node, "__dict__"):
        seen.add(kind)
        inside = vars(node)
        for name in [name for name in inside if not name.startswith("_pytree__")]:
            inside[name] = _replaced(inside[name], marks, seen)
    return marks[kind](node) if kind in marks else node
