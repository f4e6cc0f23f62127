"""The future of a request, whose callbacks may do what they like."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

# Where Python itself tells of callbacks that raise.
_log = logging.getLogger("concurrent.futures")


class Answer(Future):
    """A future whose callbacks run in a server's thread, and cannot end it.

    Python's logs what is an `Exception`, and lets the others through: ``sys.exit`` in
    one request's callback would end the thread that all other requests wait for.
    """

    def __init__(self, server: threading.Thread) -> None:
        """Makes one that nobody has answered.

        Args:
            server: the thread that will.
        """
        super().__init__()
        self._server = server

    def add_done_callback(self, fn: Callable[[Future], Any]) -> None:
        """See `concurrent.futures.Future.add_done_callback`."""

        def guarded(future: Future) -> None:
            try:
                fn(future)
            except BaseException as error:
                here = threading.current_thread() is self._server
                if isinstance(error, Exception) or not here:
                    raise
                _log.exception("exception calling callback for %r", future)

        super().add_done_callback(guarded)

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Gives it its result or its error, unless it has ended: it was cancelled.

        Args:
            result: the result.
            error: the error, in place of a result.
        """
        # Nor does it matter if its owner has answered it, which is not for him to do.
        if self.done() and not self.cancelled():
            return
        with contextlib.suppress(InvalidStateError):
            if not self.set_running_or_notify_cancel():
                return
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)
