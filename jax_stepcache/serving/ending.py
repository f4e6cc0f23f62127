"""The end of a process in which a server is open."""

from __future__ import annotations

import atexit
import functools
import sys
import weakref
from typing import Protocol


class Closable(Protocol):
    """What runs a thread that must be gone before the interpreter is."""

    def close_for_good(self, cancel: bool) -> None:
        """Finishes what there is, or cancels it, and ends the thread."""
        ...


class Ending:
    """Closes a server when the process ends, unless somebody has done so before.

    A thread that waits for a device while Python is torn down around it aborts the
    process. Servers are open later than JAX, so this runs before JAX's own end.
    """

    def __init__(self, server: Closable) -> None:
        """Watches for the end.

        Args:
            server: what is to be closed then.
        """
        self._hook = functools.partial(_close, weakref.ref(server))
        atexit.register(self._hook)

    def cancel(self) -> None:
        """The server is closed already."""
        atexit.unregister(self._hook)


def _close(reference: weakref.ref[Closable]) -> None:
    server = reference()
    if server is None:
        return
    try:
        server.close_for_good(cancel=_has_died())
    except KeyboardInterrupt:
        server.close_for_good(cancel=True)


def _has_died() -> bool:
    """Whether an error has ended the script: nobody waits for results any more."""
    return getattr(sys, "last_value", None) is not None
