"""How a policy is served: limits, and what is kept where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jax_stepcache.check import check_count, check_flag, check_numbers
from jax_stepcache.errors import naming_fields
from jax_stepcache.paths import as_path


@naming_fields()
@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a policy is served.

    Attributes:
        slots: robots that are stepped together, at most.
        capacity: requests that wait, at most; one more is refused. None for four times
            the slots.
        deadline: seconds after which a request is answered with an error instead. A
            request may name fewer.
        gather: seconds to wait at most, once a request is there, for those of robots
            that were answered a moment ago.
        session_ttl: seconds without a request after which a session is forgotten.
        max_sessions: sessions at a time; each holds memory of the device.
        max_connections: connections at a time.
        max_message: bytes of a message.
        max_frames: pictures of one camera in a message.
        drain: seconds that requests under way have to end when the server shall stop.
        token: what clients must show; None for no such check.
        debug: whether internal errors are sent with their traceback.
        sessions: folder that sessions with an id are saved in at the end and restored
            from at the start; None to forget them.
    """

    slots: int = 8
    capacity: int | None = None
    deadline: float = 30.0
    gather: float = 0.05
    session_ttl: float = 600.0
    max_sessions: int = 64
    max_connections: int = 256
    max_message: int = 16 * 2**20
    max_frames: int = 64
    drain: float = 30.0
    token: str | None = None
    debug: bool = False
    sessions: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name in ("slots", "max_sessions", "max_connections", "max_frames"):
            check_count(name, getattr(self, name), 1)
        check_count("max_message", self.max_message, 1024)
        if self.capacity is not None:
            check_count("capacity", self.capacity, 1)
        for name in ("deadline", "session_ttl"):
            check_numbers(name, getattr(self, name), above=0)
        for name in ("gather", "drain"):
            check_numbers(name, getattr(self, name), least=0)
        check_flag("debug", self.debug)
        if self.sessions is not None:  # told at once if it is no path
            as_path(self.sessions, "sessions")
        if self.token is not None and len(self.token) < 8:
            raise ValueError(
                "token has fewer than 8 characters; anybody would guess it"
            )

    @property
    def folder(self) -> Path | None:
        """Where sessions are saved, or None."""
        return None if self.sessions is None else as_path(self.sessions, "sessions")

    @property
    def places(self) -> int:
        """How many requests may wait."""
        return 4 * self.slots if self.capacity is None else self.capacity
