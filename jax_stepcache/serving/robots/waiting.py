"""Requests that wait for their step: a bounded queue, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.sessions import Held


@dataclass(frozen=True, eq=False)
class Answered:
    """What a request that was served gets.

    Attributes:
        actions: float32 (A, n).
        computed: bool (steps,), which steps ran the network.
        infer: seconds that the step took.
        waited: seconds before it began.
        together: robots that were stepped with this one, itself among them.
    """

    actions: Any
    computed: Any
    infer: float
    waited: float
    together: int


@dataclass(frozen=True, eq=False)
class Ticket:
    """A request that waits or runs.

    Attributes:
        held: the robot's session.
        message: what it sent.
        options: what it asks for.
        came: when.
        until: its deadline.
        name: its id in logs and errors.
        future: what its connection waits for, in the event loop's thread: an
            `Answered`, or what was raised. It ends once.
    """

    held: Held
    message: Mapping[str, Any]
    options: Mapping[str, Any]
    came: float
    until: float
    name: str
    future: asyncio.Future[Answered]


Ended = tuple[Ticket, Answered | BaseException]
"""A request, and its one outcome."""


def raisable(error: BaseException) -> BaseException:
    """An error as a future can raise it, which takes no `StopIteration`."""
    if not isinstance(error, StopIteration):
        return error
    made = RuntimeError("StopIteration was raised")
    made.__cause__ = error
    return made


class Waiting:
    """The queue. Whoever calls it holds a lock."""

    def __init__(self, places: int) -> None:
        """Makes an empty one.

        Args:
            places: how many may wait.
        """
        self._places = places
        self._tickets: list[Ticket] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._tickets)

    def put(self, ticket: Ticket, retry_after: float) -> None:
        """Lets a request wait.

        Args:
            ticket: the request.
            retry_after: seconds that whoever finds no place is told.

        Raises:
            Refused: if all places are taken.
        """
        if len(self._tickets) >= self._places:
            raise Refused(
                "overloaded", f"{self._places} requests wait already", retry_after
            )
        self._tickets.append(ticket)

    def remove(self, ticket: Ticket) -> bool:
        """Takes a request out, and says whether it was still waiting."""
        if ticket not in self._tickets:
            return False
        self._tickets.remove(ticket)
        return True

    def late(self, now: float) -> list[Ticket]:
        """Takes out those whose deadline has passed."""
        late = [one for one in self._tickets if one.until <= now]
        self._tickets = [one for one in self._tickets if one.until > now]
        return late

    def all(self) -> list[Ticket]:
        """Takes out all."""
        taken, self._tickets = self._tickets, []
        return taken

    def ready(self) -> int:
        """How many could be stepped together: one of each session."""
        return len({id(one.held) for one in self._tickets})

    def has(self, held: Held) -> bool:
        """Whether a request of that session waits."""
        return any(one.held is held for one in self._tickets)

    def take(self, slots: int) -> list[Ticket]:
        """Takes out those that are stepped next.

        Args:
            slots: how many at most.

        Returns:
            The first of each session, in the order in which they came; as many as a
            power of two, so that few programs serve all numbers of robots.
        """
        first: dict[int, Ticket] = {}
        for ticket in self._tickets:
            first.setdefault(id(ticket.held), ticket)
        count = min(len(first), slots)
        taken = list(first.values())[: 1 << (count.bit_length() - 1)] if count else []
        self._tickets = [one for one in self._tickets if one not in taken]
        return taken


def sizes(slots: int) -> list[int]:
    """The numbers of robots that `Waiting.take` may give."""
    return [1 << bit for bit in range(slots.bit_length())]
