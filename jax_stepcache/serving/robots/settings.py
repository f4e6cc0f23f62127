"""How a policy is served: limits, and what is kept where."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from jax_stepcache.check import check_count, check_flag, check_numbers
from jax_stepcache.errors import naming_fields
from jax_stepcache.paths import as_path

HERE = ("127.0.0.1", "localhost", "[::1]")
"""What this machine is called in ``Host`` by programs of its own."""


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
        idle_at_least: seconds without a request after which a session makes room for
            a new one, where there are ``max_sessions``.
        max_connections: connections at a time.
        max_message: bytes of a message.
        max_frames: pictures of one camera in a message.
        max_pixels: of one picture.
        max_kinds: kinds of messages, by the sizes of their pictures, that programs are
            compiled for while robots are served; beside those of the policy's own. One
            that nobody has sent for an hour makes room for another.
        drain: seconds that requests under way have to end when the server shall stop.
        token: what clients must show, ASCII; None for no such check.
        hosts: names that clients may call the server by, in their ``Host``; ``"*"`` for
            any. None for those of this machine where the server listens there alone
            and no token is asked for, so that no page of a browser gets in by a name
            of its own; otherwise for any.
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
    idle_at_least: float = 10.0
    max_connections: int = 256
    max_message: int = 64 * 2**20
    max_frames: int = 64
    max_pixels: int = 2**21
    max_kinds: int = 8
    drain: float = 30.0
    token: str | None = field(default=None, repr=False)
    hosts: Sequence[str] | None = None
    debug: bool = False
    sessions: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        counts = (
            "slots",
            "max_sessions",
            "max_connections",
            "max_frames",
            "max_pixels",
        )
        for name in counts:
            check_count(name, getattr(self, name), 1)
        check_count("max_kinds", self.max_kinds, 0)
        check_count("max_message", self.max_message, 1024)
        if self.capacity is not None:
            check_count("capacity", self.capacity, 1)
        for name in ("deadline", "session_ttl"):
            check_numbers(name, getattr(self, name), above=0)
        for name in ("gather", "drain", "idle_at_least"):
            check_numbers(name, getattr(self, name), least=0)
        check_flag("debug", self.debug)
        if self.hosts is not None:
            _check_hosts(self.hosts)
        if self.sessions is not None:  # told at once if it is no path
            as_path(self.sessions, "sessions")
        if self.token is not None and len(self.token) < 8:
            raise ValueError(
                "token has fewer than 8 characters; anybody would guess it"
            )
        # What else a header may hold, clients do not send alike.
        if self.token is not None and not re.fullmatch(
            "[!-~]([ -~]*[!-~])?", self.token
        ):
            raise ValueError(
                "token has other characters than ASCII's, or blanks around it"
            )

    def hosts_at(self, address: str) -> Sequence[str]:
        """Which names clients may use where it listens at an address.

        Args:
            address: such as ``127.0.0.1``.

        Returns:
            The names; ``("*",)`` for any.
        """
        if self.hosts is not None:
            return self.hosts
        if self.token is not None or not _is_here(address):
            return ("*",)
        own = f"[{address}]" if ":" in address else address
        return HERE if own in HERE else (*HERE, own)

    @property
    def folder(self) -> Path | None:
        """Where sessions are saved, or None."""
        return None if self.sessions is None else as_path(self.sessions, "sessions")

    @property
    def places(self) -> int:
        """How many requests may wait."""
        return 4 * self.slots if self.capacity is None else self.capacity


def _is_here(address: str) -> bool:
    """Whether no other machine reaches an address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _check_hosts(hosts: Sequence[str]) -> None:
    if isinstance(hosts, str) or not hosts:
        raise ValueError(f"hosts is {hosts!r}; give a list of names")
    for name in hosts:
        plain = isinstance(name, str) and re.fullmatch(
            r"[\w.-]+|\[[0-9a-fA-F:.]+\]|\*(\.[\w.-]+)?", name
        )
        if not plain:
            raise ValueError(
                f"hosts has {name!r}; give names without port, such as 'robot.local', "
                "'*.lab.org', or '*'"
            )
