"""Marks in a traced network: where a block is entered, and where it is left.

A mark is an identity that shows in the jaxpr. It goes through `jax.vmap`, `jax.jit`,
`jax.checkpoint` and `jax.lax.scan` with what it marks, and is taken out before anything
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend
import numpy as np
from jax.interpreters import batching

from jax_stepcache.nodes import register_dataclass

ENTER, LEAVE, LOOK = "enter", "leave", "look"
"""What a mark says of its arrays: they enter a block, leave it, or are looked at."""

MARK = jax.extend.core.Primitive("jax_stepcache_mark")
MARK.multiple_results = True
MARK.def_abstract_eval(lambda *avals, kind, index: avals)


def _batched(arrays: Any, axes: Any, **told: Any) -> tuple[Any, Any]:
    # Under a `vmap` of the network's own, rows come first.
    moved = [
        jax.numpy.moveaxis(x, axis, 0) if isinstance(axis, int) else x
        for x, axis in zip(arrays, axes, strict=True)
    ]
    return MARK.bind(*moved, **told), [
        0 if isinstance(axis, int) else axis for axis in axes
    ]


batching.primitive_batchers[MARK] = _batched


def marked_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    index: int,
    look: bool = False,
) -> Any:
    """Calls a block, or a part of one, and marks what goes in and comes out.

    Args:
        function: what is called.
        args: with what.
        kwargs: likewise.
        index: which block it is.
        look: whether only what goes in is marked, to be looked at.

    Returns:
        What the function returns.
    """
    if look:
        marked_args, marked_kwargs = _marked((args, kwargs), LOOK, index)
        return function(*marked_args, **marked_kwargs)
    args, kwargs = _marked((args, kwargs), ENTER, index)
    return _marked(function(*args, **kwargs), LEAVE, index)


def _marked(tree: Any, kind: str, index: int) -> Any:
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_opaque)
    places = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray)]
    said = MARK.bind(*(leaves[i] for i in places), kind=kind, index=index)
    for i, x in zip(places, said, strict=True):
        leaves[i] = x
    return jax.tree.unflatten(structure, leaves)


def _is_opaque(x: Any) -> bool:
    """Whether something is handed on as it is: modules, random streams, variables."""
    return hasattr(x, "__dict__") and type(x).__module__.startswith("flax.nnx")


@register_dataclass
@dataclass(frozen=True, eq=False)
class Marked:
    """A module in place of itself, whose calls are marked.

    It is a pytree, for a network may hand it to transformations.

    Attributes:
        module: the module.
        index: which block it is.
        look: whether it is the part of a block whose input is looked at.
    """

    module: Any
    index: int = field(metadata={"static": True})
    look: bool = field(default=False, metadata={"static": True})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's call, marked."""
        return marked_call(self.module, args, kwargs, self.index, self.look)

    def __getattr__(self, name: str) -> Any:
        """All else that the network may ask of the module."""
        if name in ("module", "__setstate__"):
            raise AttributeError(name)
        return getattr(self.module, name)
