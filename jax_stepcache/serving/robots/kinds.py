"""Kinds of messages that programs are compiled for: so many, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_IDLE = 3600.0  # seconds after which a kind makes room


class Kinds:
    """What has been compiled for. Only the worker's thread asks.

    A program is compiled for pictures of one size. Whoever may send any would keep all
    robots waiting for the compiler, again and again; and whoever has sent many once
    would keep others out for ever, were it not for the hour after which a kind that
    nobody sends makes room for another.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Knows none.

        Args:
            most: how many may be added to those of `prepare`.
            clock: tells seconds.
        """
        self._most, self._clock = most, clock
        self._own: set[Hashable] = set()
        # When each was sent last; that of the longest ago is the first.
        self._others: dict[Hashable, float] = {}

    def prepare(self, kind: Hashable) -> None:
        """Adds one of the policy's own, which is compiled for in any case.

        Args:
            kind: what `Policy.check` returned.
        """
        self._own.add(kind)

    def admit(self, kind: Hashable) -> None:
        """Lets a message in if it is of a kind that is known, or of a new one.

        Args:
            kind: what `Policy.check` returned; None is always known.

        Raises:
            ValueError: if there are too many kinds already, saying which.
        """
        if kind is None or kind in self._own:
            return
        now, known = self._clock(), self._others.pop(kind, None) is not None
        if not known and len(self._others) >= self._most:
            self._make_room(kind, now)
        self._others[kind] = now

    def _make_room(self, kind: Hashable, now: float) -> None:
        longest = next(iter(self._others), None)
        if longest is None or self._others[longest] > now - _IDLE:
            known = "; ".join(sorted(map(str, {*self._own, *self._others})))
            raise ValueError(
                f"pictures are of {kind}, which would have to be compiled for; this "
                f"server takes no more kinds than those it has: {known:.2000}"
            )
        del self._others[longest]
