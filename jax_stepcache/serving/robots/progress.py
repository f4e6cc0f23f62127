"""How far a server is that compiles, and how long it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger("jax_stepcache.robots")
_AT_FIRST = 10.0  # seconds, as long as nothing is known
_LEAST, _MOST = 1.0, 60.0


class Progress:
    """Counts control steps that are taken to compile for robots' messages.

    Attributes:
        done: steps that have been taken.
        total: steps to be taken, 0 before that is known.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Has not begun.

        Args:
            clock: tells seconds.
        """
        self._clock = clock
        self.done, self.total, self._begun = 0, 0, clock()

    def begin(self, total: int) -> None:
        """The first step begins.

        Args:
            total: how many there are.
        """
        self.done, self.total, self._begun = 0, total, self._clock()

    def step(self) -> None:
        """One more is done; the log says so."""
        self.done += 1
        seconds = round(self._clock() - self._begun, 3)
        _log.info(
            "compiling: %d of %d", self.done, self.total, extra={"seconds": seconds}
        )

    def retry_after(self) -> float:
        """Seconds after which a robot may ask again: about those that it will take."""
        if not self.done:
            return _AT_FIRST
        each = (self._clock() - self._begun) / self.done
        return min(max(each * (self.total - self.done), _LEAST), _MOST)
