"""Who may use a stream: one thread at a time, and of a server's its own alone."""

from __future__ import annotations

import threading
from types import TracebackType


class Use:
    """``with use:`` is entered by one at a time; others are told instead of waiting.

    What goes wrong where two are in a stream shows much later, and nowhere near.
    """

    def __init__(self) -> None:
        self._inside = threading.Lock()
        self._reserving = threading.Lock()
        self._reserved: threading.Thread | None = None
        self._failure: BaseException | None = None

    def reserve(self, thread: threading.Thread) -> None:
        """Leaves it to one thread, until `free`.

        Raises:
            ValueError: if another has it.
            RuntimeError: if it has failed.
        """
        self._check_whole()
        with self._reserving:
            if self._reserved is not None:
                raise ValueError(
                    "a server runs this stream already; close that one first, or open "
                    "another stream with serve()"
                )
            self._reserved = thread

    def free(self) -> None:
        """Lets any thread use it again."""
        self._reserved = None

    def fail(self, error: BaseException) -> None:
        """Nobody can use it any more, because of an error."""
        self._failure = error

    def __enter__(self) -> None:
        """Begins to use it.

        Raises:
            RuntimeError: if somebody else does, or it has failed.
        """
        self._check_whole()
        if self._reserved not in (None, threading.current_thread()):
            raise RuntimeError(
                "a server runs this stream, and nobody else may use it: submit to the "
                "server, or close it first"
            )
        if not self._inside.acquire(blocking=False):
            raise RuntimeError(
                "this stream is in use: by another thread, or from inside a call of "
                "its own. One at a time may use it; Server takes requests from many "
                "threads"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Is done with it."""
        del kind, error, traceback
        self._inside.release()

    def _check_whole(self) -> None:
        if self._failure is not None:
            raise RuntimeError(
                "this stream has failed, and what was in it is lost; open another with "
                "serve()"
            ) from self._failure
