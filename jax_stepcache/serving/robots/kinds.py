"""Kinds of messages that programs are compiled for: so many, and no more."""

from __future__ import annotations

from collections.abc import Hashable


class Kinds:
    """What has been compiled for. Only the worker's thread asks.

    A program is compiled for pictures of one size. Whoever may send any would keep all
    robots waiting for the compiler, again and again.
    """

    def __init__(self, most: int) -> None:
        """Knows none.

        Args:
            most: how many may be added to those of `prepare`.
        """
        self._left = most
        self._known: set[Hashable] = set()

    def prepare(self, kind: Hashable) -> None:
        """Adds one of the policy's own, which is compiled for in any case.

        Args:
            kind: what `Policy.check` returned.
        """
        self._known.add(kind)

    def admit(self, kind: Hashable) -> None:
        """Lets a message in if it is of a kind that is known, or of a new one.

        Args:
            kind: what `Policy.check` returned; None is always known.

        Raises:
            ValueError: if there are too many kinds already, saying which.
        """
        if kind is None or kind in self._known:
            return
        if not self._left:
            known = "; ".join(sorted(map(str, self._known)))
            raise ValueError(
                f"pictures are of {kind}, which would have to be compiled for; this "
                f"server takes no more kinds than those it has: {known:.2000}"
            )
        self._left -= 1
        self._known.add(kind)
