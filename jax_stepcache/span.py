"""Spans: the part of a network that a cache may skip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jax_stepcache.check import check_count
from jax_stepcache.errors import unknown_name


@dataclass(frozen=True)
class Span:
    """The blocks of a network but for some at its ends. Static.

    Attributes:
        first: blocks before the span; they run at every step, and a signal may look at
            what they do (``Fn_compute_blocks`` in cache-dit).
        last: blocks behind the span; they run at every step too
            (``Bn_compute_blocks``).
    """

    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        """Checks the counts.

        Raises:
            ValueError: if one is negative or no whole number.
        """
        for name, count in (("first", self.first), ("last", self.last)):
            check_count(f"a span's {name}", count)


class Inside(NamedTuple):
    """What a policy sees inside the network at one step, of one guidance branch.

    Attributes:
        hidden: pytree of [batch, tokens, dim] arrays, what enters the span.
        first: what the blocks before the span have added, like ``hidden``.
        modulated: [batch, ...], the modulated input of block 0; None where the network
            does not offer it.
        sigma: float32 scalar, the noise level of the output that signals look at.
        branches: int32 scalar, how many guidance branches a step has; each is a forward
            of its own in the originals.
    """

    hidden: Any
    first: Any
    modulated: jax.Array | None
    sigma: jax.Array
    branches: jax.Array


def get_span(span: Span | str | None) -> Span | None:
    """Finds a span by name.

    Args:
        span: ``"network"`` or None for the whole forward, guidance included;
            ``"blocks"`` for all blocks; or a `Span`.

    Returns:
        The span; None for the whole forward.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything else.
    """
    if span is None or isinstance(span, Span):
        return span
    if not isinstance(span, str):
        raise TypeError(f"span is {span!r}; give 'network', 'blocks' or a Span")
    known = {"network": None, "blocks": Span()}
    if span not in known:
        raise ValueError(unknown_name("span", span, known))
    return known[span]
