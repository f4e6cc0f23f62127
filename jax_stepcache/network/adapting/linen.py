"""A Flax Linen module, its blocks found by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jax_stepcache.check import structs_of
from jax_stepcache.errors import brief, nearest
from jax_stepcache.network.adapting.kinds import (
    Path,
    blocks_of,
    matched,
    no_names,
    plainly_called,
    stacked_count,
    under,
)
from jax_stepcache.network.adapting.marks import marked_call
from jax_stepcache.network.adapting.problems import misfit
from jax_stepcache.network.called import asking, check_takes


@dataclass(frozen=True, eq=False)
class LinenNetwork:
    """A Flax Linen module.

    Attributes:
        module: the module.
        call: ``(module, sample, t, condition)`` to the velocity.
        paths: of the blocks that are called one by one.
        stacks: of those that are stacked.
        modulated: the name of the part of a block whose input is looked at; or None.
        count: see `Network`.
        like: structs of its variables.
    """

    module: Any
    call: Callable[[Any, Any, Any, Any], Any]
    paths: tuple[Path, ...]
    stacks: tuple[Path, ...]
    modulated: str | None
    count: int
    like: Any = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """See `Network.names`."""
        return tuple("/".join(path) for path in self.paths)

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        found = [under(part, path) for part in weights.values() for path in self.stacks]
        return jax.tree.leaves(found)

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`."""
        of = type(self.module).__name__
        with asking(of, sample, condition, lambda: misfit(weights, self.like)):
            return self._called(marked, weights, sample, t, condition)

    def _called(self, marked: bool, *given: Any) -> Any:
        import flax.linen

        if not marked:
            return self.module.apply(*given, method=self.call)
        places = {path: i for i, path in enumerate(self.paths)}
        looked: Path | None = None
        if self.modulated is not None:
            looked = (*(self.paths + self.stacks)[0], *self.modulated.split("/"))
        inside: set[Path] = set()

        def intercepted(call: Any, args: Any, kwargs: Any, about: Any) -> Any:
            path = tuple(about.module.path)
            known = path == looked or path in places
            # What is lifted calls itself once more within.
            if about.method_name != "__call__" or not known or path in inside:
                return call(*args, **kwargs)
            inside.add(path)
            try:
                index = places.get(path, 0)
                return marked_call(call, args, kwargs, index, path == looked)
            finally:
                inside.discard(path)

        with flax.linen.intercept_methods(intercepted):
            return self.module.apply(*given, method=self.call)


def linen_network(
    module: Any, weights: Any, blocks: Any, call: Any, modulated: Any
) -> LinenNetwork:
    """Looks at a Linen module and its variables; see `adapt`.

    Raises:
        TypeError: if something is missing, or of another kind.
        ValueError: if there are no blocks of that name.
    """
    if not isinstance(weights, Mapping) or "params" not in weights:
        raise TypeError(
            f"a Linen module's weights are its variables, {{'params': ...}}; got "
            f"{brief(weights)}"
        )
    if modulated is not None and not isinstance(modulated, str):
        raise TypeError(
            f"modulated is {brief(modulated)}; of a Linen block it is the name of the "
            'part that is given the modulated input, such as "attention"'
        )
    paths: list[Path] = []
    stacks: list[Path] = []
    if callable(blocks):
        check_takes("blocks", blocks, ("network",))
        found = blocks_of(blocks, module.bind(weights))
        listed = isinstance(found, list | tuple)
        (paths if listed else stacks).extend(map(_path_of, _flat(found)))
    else:
        for pattern in blocks if isinstance(blocks, list | tuple) else [blocks]:
            each = matched(weights["params"], pattern)
            (paths if "*" in pattern else stacks).extend(each)
    counts = [
        stacked_count(jax.tree.leaves(under(weights["params"], path)), f"{path[-1]!r}")
        for path in stacks
    ]
    if not paths and not stacks:
        raise ValueError(no_names(blocks))
    if modulated is not None and paths:
        _check_part(weights["params"], paths[0], modulated)
    return LinenNetwork(
        module,
        call or plainly_called,
        tuple(paths),
        tuple(stacks),
        modulated,
        len(paths) + sum(counts),
        structs_of(weights),
    )


def _check_part(params: Any, block: Path, part: str) -> None:
    """A part may have no weights of its own; a name near another is a slip."""
    inside = under(params, block)
    if isinstance(inside, Mapping) and part.partition("/")[0] not in inside:
        near = nearest(part, map(str, inside))
        if near:
            raise ValueError(
                f"modulated={part!r} is no part of {'/'.join(block)}.{near} It has "
                f"{sorted(inside)}"
            )


def _flat(found: Any) -> list[Any]:
    if isinstance(found, list | tuple):
        return [block for part in found for block in _flat(part)]
    return [found]


def _path_of(block: Any) -> Path:
    path = getattr(block, "path", None)
    if path is None:
        raise TypeError(
            f"blocks= gave {brief(block)}, no submodule; blocks that are made in a "
            "compact __call__ are given by their names in params"
        )
    return tuple(path)
