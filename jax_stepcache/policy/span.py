"""Spans: the part of a network that a cache may skip."""

from __future__ import annotations

from dataclasses import dataclass

from jax_stepcache.check import static_count
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
            counted = static_count(f"a span's {name}", count)
            object.__setattr__(self, name, counted)


@dataclass(frozen=True)
class EachBranch(Span):
    """The whole network, for each guidance branch by itself, before they are mixed."""


@dataclass(frozen=True)
class EachList(Span):
    """Blocks of each list of a network's, a span of its own in every list.

    Attributes:
        spans: of each list, in order.
    """

    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Attentions(Span):
    """The attentions of all blocks; the rest of each block runs at every step."""


def each_branch(span: Span | None) -> bool:
    """Whether a span is the whole network, branch by branch."""
    return isinstance(span, EachBranch)


def get_span(span: Span | str | None) -> Span | None:
    """Finds a span by name.

    Args:
        span: ``"network"`` or None for the whole forward, guidance included;
            ``"branches"`` for each guidance branch of it; ``"blocks"`` for all blocks;
            ``"attentions"`` for the attentions in them; or a `Span`.

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
    known: dict[str, Span | None] = {
        "network": None,
        "branches": EachBranch(),
        "blocks": Span(),
    }
    known["attentions"] = Attentions()
    if span not in known:
        raise ValueError(unknown_name("span", span, known))
    return known[span]
