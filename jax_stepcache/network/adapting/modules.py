"""Modules that hold their weights: Flax NNX's, and others that are pytrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from jax_stepcache.errors import brief, nearest
from jax_stepcache.network.adapting.kinds import (
    is_array,
    plainly_called,
    stacked_count,
)
from jax_stepcache.network.adapting.marks import Marked


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
        found = _flat(self.blocks(self.merge(weights)))
        return [x for stack in found for x in _arrays(stack)]

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
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
        if not callable(given) and not (name == "modulated" and given is None):
            raise TypeError(
                f"{name} is {brief(given)}; of a module that holds its weights it is a "
                f"function, such as lambda {name[0]}: {name[0]}."
                + ("blocks" if name == "blocks" else "attn")
            )
    found = _asked(blocks, module, "blocks")
    each = _flat(found)
    if not each:
        raise ValueError("blocks= gives an empty list; it must give the blocks")
    listed = _is_list(found)
    odd = [x for x in each if not callable(x)]
    if listed and odd:
        raise TypeError(
            f"blocks= gives {brief(odd[0])} among others, which is not called; give "
            "the modules, or what is stacked on its own, without a list around it"
        )
    if modulated is not None and not callable(_asked(modulated, each[0], "modulated")):
        raise TypeError("modulated= gives something that a block cannot call")
    names = tuple(f"block {i}" for i in range(len(each))) if listed else ()
    count = len(each)
    if not listed:
        count = sum(stacked_count(_arrays(stack), "blocks=") for stack in each)
    weights, merge = _taken_apart(module)
    made = ModuleNetwork(merge, call or plainly_called, blocks, modulated, names, count)
    return weights, made


def _asked(function: Any, module: Any, name: str) -> Any:
    try:
        return function(module)
    except AttributeError as error:
        near = nearest(error.name, _attributes(error.obj))
        raise ValueError(
            f"{name}= asks for what is not there: {error}.{near}"
        ) from error


def _attributes(module: Any) -> list[str]:
    return [x for x in getattr(module, "__dict__", ()) if not x.startswith("_")]


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
