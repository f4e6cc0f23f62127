"""A program before it is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .turns import STEPS


class Lowered(NamedTuple):
    """A jitted function and its arguments, and what of these is worth a name.

    Attributes:
        function: the function.
        arguments: structs, with shardings.
        depth: blocks of the network.
        is_gated: whether the network stands behind the gate.
        stacked: shapes of the blocks' weights on a device, without a layer axis.
        cached: shapes of the KV cache's arrays, on a device.
        scores: queries and keys of a self-attention over all there is to see; None if
            that is not told.
        seen: see `kernels`: of the cached keys, the mean share that is seen from the
            places of a window; empty without a cache.
        slots: requests that are taken into slots; 1 where there are none.
        steps: of a generation.
        experts: networks of which each step asks one.
    """

    function: Any
    arguments: tuple[Any, ...]
    depth: int
    is_gated: bool
    stacked: frozenset[tuple[int, ...]]
    cached: frozenset[tuple[int, ...]]
    scores: tuple[int, int] | None
    seen: Mapping[int, float]
    slots: int
    steps: int = STEPS
    experts: int = 1
