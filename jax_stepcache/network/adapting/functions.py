"""A function of weights and sample that scans over stacked blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

from jax_stepcache.check import structs_of
from jax_stepcache.errors import brief
from jax_stepcache.network.adapting.kinds import (
    Path,
    matched,
    no_names,
    stacked_count,
    under,
)
from jax_stepcache.network.adapting.problems import misfit
from jax_stepcache.network.called import asking, check_takes


@dataclass(frozen=True, eq=False)
class FunctionNetwork:
    """A function that scans over stacked weights.

    Attributes:
        function: ``(weights, sample, t, condition)`` to the velocity.
        paths: of the stacked weights among the others.
        count: see `Network`.
        like: structs of its weights.
    """

    function: Callable[[Any, Any, Any, Any], Any]
    paths: tuple[Path, ...]
    count: int
    like: Any = field(repr=False)

    names = ()

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        return jax.tree.leaves([under(weights, path) for path in self.paths])

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`; scans need no marks."""
        del marked
        of = getattr(self.function, "__name__", "the network")
        with asking(of, sample, condition, lambda: misfit(weights, self.like)):
            return self.function(weights, sample, t, condition)


def function_network(
    function: Any, weights: Any, blocks: Any, call: Any, modulated: Any
) -> FunctionNetwork:
    """Looks at a function and its weights; see `adapt`.

    Raises:
        TypeError: if something is missing, or is none of a function's.
        ValueError: if there are no stacked weights of that name.
    """
    if weights is None:
        raise TypeError(
            f"network is {brief(function)}, a function; give its weights too: "
            'adapt(network, weights, blocks="name of the stacked weights")'
        )
    if modulated is not None:
        raise TypeError(
            "modulated= names a part of a block that is a module; of a function "
            "TeaCache needs StagedDenoiser(..., modulated=)"
        )
    if call is None:
        check_takes("network", function, ("weights", "sample", "t", "condition"))
    if callable(blocks):
        raise TypeError(
            f"blocks is {brief(blocks)}; of a function it is the name of the stacked "
            'weights, such as "blocks"'
        )
    paths: list[Path] = []
    for pattern in blocks if isinstance(blocks, list | tuple) else [blocks]:
        paths.extend(matched(weights, pattern))
    if not paths:
        raise ValueError(no_names(blocks))
    counts = [
        stacked_count(jax.tree.leaves(under(weights, path)), f"blocks={blocks!r}")
        for path in paths
    ]

    def called(weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        how: Any = call
        return how(lambda *given: function(weights, *given), sample, t, condition)

    how, like = function if call is None else called, structs_of(weights)
    return FunctionNetwork(how, tuple(paths), sum(counts), like)
