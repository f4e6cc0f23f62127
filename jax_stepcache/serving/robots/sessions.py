"""The sessions of all robots: who has one, who was here lately, who is forgotten."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jax_stepcache.serving.robots.refused import Refused

_log = logging.getLogger("jax_stepcache.robots")


@dataclass(eq=False)
class Held:
    """A session in the server's hands.

    Attributes:
        name: its id.
        session: the policy's own; only the worker's thread replaces it. None where it
            was lost with a failed step.
        used: when it was last asked for.
        pending: requests that wait for it, and the step that it is in.
        gone: whether it has ended, or ends with the last of them.
        steps: control steps taken.
        calls: network calls that they took.
        skipped: calls that the cache saved.
        own: whether it belongs to one connection, and ends with it.
        begun: whether a step of it was taken, now or before it was saved. Others are
            not kept: refused requests leave nothing.
        answered: when its last request was answered.
        gap: seconds from an answer to the next request, the last time.
    """

    name: str
    session: Any
    used: float
    own: bool
    begun: bool = False
    pending: int = 0
    gone: bool = False
    steps: int = 0
    calls: int = 0
    skipped: int = 0
    answered: float = math.inf
    gap: float = 0.0


class Sessions:
    """Sessions by id. Any thread may ask."""

    def __init__(
        self,
        most: int,
        ttl: float,
        clock: Callable[[], float],
        retry_after: float,
        idle_at_least: float = math.inf,
    ) -> None:
        """Holds none.

        Args:
            most: how many there may be.
            ttl: seconds without a request after which one is forgotten.
            clock: tells seconds.
            retry_after: what is told where there is no room.
            idle_at_least: seconds without a request after which one makes room for
                another, where there is none.
        """
        self._most, self._ttl, self._clock = most, ttl, clock
        self._retry_after, self._idle_at_least = retry_after, idle_at_least
        self._held: dict[str, Held] = {}
        # Those whose first request has not been accepted yet: they hold no memory of
        # the device, and take nobody's place. Each has a request that is pending.
        self._coming: dict[str, Held] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many there are, without those whose first request may be refused yet."""
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        """All that `len` counts, those that were asked for lately last."""
        with self._lock:
            held = list(self._held.values())
        return iter(sorted(held, key=lambda one: one.used))

    def find(self, name: str) -> Held | None:
        """The session of an id, if there is one."""
        return self._held.get(name) or self._coming.get(name)

    def get(self, name: str, begin: Callable[[], Any], own: bool = False) -> Held:
        """The session of an id, begun if there is none; a request for it is pending.

        A new one takes a place only once `admit` is told that its request fits.

        Args:
            name: the id.
            begin: makes a session.
            own: whether a new one belongs to one connection.

        Returns:
            The session; `done` says when the request has ended.

        Raises:
            Refused: if there is no room for another.
        """
        with self._lock:
            self._forget_idle()
            held = self.find(name)
            if held is None:
                self._idle_longest()  # told at once rather than when its turn has come
                held = Held(name, begin(), self._clock(), own)
                self._coming[name] = held
            held.pending += 1
            held.used = self._clock()
            return held

    def admit(self, held: Held) -> None:
        """A request for a session has been accepted: a new one takes its place.

        Raises:
            Refused: if there is no room for another.
        """
        with self._lock:
            if self._coming.get(held.name) is held:
                self._make_room()
                self._held[held.name] = self._coming.pop(held.name)

    def hold(self, many: Iterable[Held]) -> None:
        """Sessions are stepped now; whoever asked for that may go away meanwhile."""
        with self._lock:
            for held in many:
                held.pending += 1

    def done(self, *many: Held) -> None:
        """A request for a session has ended, or its step."""
        with self._lock:
            for held in many:
                held.pending -= 1
                held.used = self._clock()
                lost = held.gone or held.session is None or not held.begun
                if lost and not held.pending:
                    self._drop(held)

    def drop(self, held: Held) -> None:
        """Forgets a session, at once or when its last request has ended."""
        with self._lock:
            held.gone = True
            if not held.pending:
                self._drop(held)

    def put(self, name: str, session: Any) -> Held:
        """Takes a session that was saved.

        Returns:
            How it is held.

        Raises:
            Refused: if there is no room for another.
        """
        with self._lock:
            self._make_room()
            self._held[name] = Held(name, session, self._clock(), False, begun=True)
            return self._held[name]

    def forget_idle(self) -> None:
        """Forgets who has not been here for long."""
        with self._lock:
            self._forget_idle()

    def _make_room(self) -> None:
        """Makes room for another session, if need be of the one that is idle longest.

        A robot that goes on under another id would hold its old memory until the end
        of the `ttl`.
        """
        longest = self._idle_longest()
        if longest is not None:
            _log.info("made room for another session", extra={"session": longest.name})
            self._drop(longest)

    def _idle_longest(self) -> Held | None:
        """Whose place another would take; None where there is room already."""
        if len(self._held) < self._most:
            return None
        idle = [held for held in self._held.values() if not held.pending]
        longest = min(idle, key=lambda held: held.used, default=None)
        needed = min(self._idle_at_least, self._ttl)
        if longest is None or longest.used > self._clock() - needed:
            raise Refused(
                "overloaded",
                f"there are {self._most} sessions, and none has been idle for "
                f"{needed:g} s",
                self._retry_after,
            )
        return longest

    def _forget_idle(self) -> None:
        before = self._clock() - self._ttl
        for held in [one for one in self._held.values() if one.used < before]:
            if not held.pending:
                self._drop(held)

    def _drop(self, held: Held) -> None:
        held.gone = True
        for some in (self._held, self._coming):
            if some.get(held.name) is held:
                del some[held.name]
        held.session = None
