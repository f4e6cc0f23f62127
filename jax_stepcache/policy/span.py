"""Spans: the part of a network that a cache may skip."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

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
class EachBlock(Span):
    """The same blocks, each of them skipped or not by itself.

    Attributes:
        always: blocks in the span that run at every step, counted from the first of
            all (``non_prune_block_ids`` in cache-dit); those that a network has not
            are nobody's.
    """

    always: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks the counts, and makes them a tuple in order."""
        super().__post_init__()
        each = {static_count("a block of non_prune_block_ids", b) for b in self.always}
        object.__setattr__(self, "always", tuple(sorted(each)))

    def gated(self, num_blocks: int) -> tuple[int, ...]:
        """Blocks that may be skipped, of a network with so many."""
        inner = range(self.first, num_blocks - self.last)
        return tuple(block for block in inner if block not in self.always)


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


def check_decides_alone(span: Span | None) -> None:
    """Checks that a sample can decide for itself what is skipped.

    Args:
        span: what may be skipped.

    Raises:
        ValueError: for a span that takes all rows of a batch together, with the setting
            that asks for it.
    """
    for kind, (what, remedy) in _WHOLE_BATCH.items():
        if isinstance(span, kind):
            raise ValueError(
                f"a cache around {what} decides for a whole batch; samples that decide "
                "each for itself, and requests in slots, take one around all blocks: "
                + remedy
            )


_WHOLE_BATCH = MappingProxyType(
    {
        EachList: (
            "each list of blocks",
            "give block_lists='joined', or one policy in place of each_list",
        ),
        Attentions: (
            "attentions alone",
            "leave out attention_only, or give span='blocks'",
        ),
    }
)


def apart_in(
    span: Span | None, branches: int, num_blocks: int, interval: bool = False
) -> tuple[int, ...]:
    """What decides apart at a step.

    Args:
        span: what may be skipped.
        branches: guidance branches, 1 or 2.
        num_blocks: of the network; of one without stages any number.
        interval: whether the unconditional branch is asked at some steps only.

    Returns:
        The shape of what is noted of a step: that of branches where there are two that
        decide apart, and of blocks where these do.
    """
    if isinstance(span, EachBlock):
        return branches, len(span.gated(num_blocks))
    apart = branches > 1 and (span is not None or interval)
    return (branches,) if apart else ()


def get_span(span: Span | str | None) -> Span | None:
    """Finds a span by name.

    Args:
        span: ``"network"`` or None for the whole forward, guidance included;
            ``"branches"`` for each guidance branch of it; ``"blocks"`` for all blocks,
            ``"each block"`` for every one of them by itself; ``"attentions"`` for the
            attentions in them; or a `Span`.

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
        "each block": EachBlock(),
        "attentions": Attentions(),
    }
    if span not in known:
        raise ValueError(unknown_name("span", span, known))
    return known[span]
