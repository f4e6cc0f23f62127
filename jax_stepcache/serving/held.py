"""A request in a stream, and what it is sorted by."""

from __future__ import annotations

from dataclasses import dataclass

from jax_stepcache.check import check_numbers
from jax_stepcache.requests.places import Entry


@dataclass
class Held:
    """A request in the stream.

    Attributes:
        ticket: its number.
        place: where it is.
        entry: what was put there.
        priority: larger ones go first.
        deadline: of the stream's clock; infinite for none.
        waiting: whether no slot has taken it yet.
    """

    ticket: int
    place: int
    entry: Entry
    priority: float
    deadline: float
    waiting: bool = True

    @property
    def urgency(self) -> tuple[float, float, int]:
        """What waits is sorted by this."""
        return -self.priority, self.deadline, self.ticket


def check_urgency(priority: float, deadline: float | None) -> None:
    """Checks what requests are sorted by.

    Raises:
        ValueError: if the priority or the deadline, in seconds from now, is no finite
            number.
    """
    check_numbers("priority", priority)
    if deadline is not None:
        check_numbers("deadline", deadline)
