"""What a robot is told when it gets no actions."""

from __future__ import annotations

import json
from typing import Literal

Kind = Literal[
    "bad_message", "bad_request", "overloaded", "deadline", "draining", "internal"
]
KINDS: tuple[Kind, ...] = (
    "bad_message",
    "bad_request",
    "overloaded",
    "deadline",
    "draining",
    "internal",
)


# Characters of a message, which quotes what came.
_LONGEST = 20_000


class Refused(Exception):
    """A request ends without actions.

    Attributes:
        kind: ``bad_message`` (a frame that is none), ``bad_request`` (what it says does
            not fit), ``overloaded``, ``deadline``, ``draining`` or ``internal``. The
            session is as it was after all but the last, and after a deadline that
            passed while its step was under way, which has moved it on.
        message: in words.
        retry_after: seconds after which another try may do better, or None.
    """

    def __init__(
        self, kind: Kind, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message[:_LONGEST]
        self.retry_after = retry_after

    def frame(self, request_id: str) -> str:
        """The text frame: JSON. Clients of openpi raise it as an error of the server.

        Args:
            request_id: as in the server's logs.
        """
        said: dict[str, object] = {
            "error": self.kind,
            "message": self.message,
            "request_id": request_id,
        }
        if self.retry_after is not None:
            said["retry_after"] = round(self.retry_after, 3)
        return json.dumps(said)
