"""A front of a stream for many threads: futures, and one thread that runs chunks."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self

from jax_stepcache.options import Request
from jax_stepcache.requests.places import Entry
from jax_stepcache.serving.held import check_urgency
from jax_stepcache.serving.outcome import Outcome
from jax_stepcache.serving.stream import Stream


class _Asked(NamedTuple):
    """A request on its way into the stream."""

    entry: Entry
    priority: float
    until: float | None
    future: Future


class Server:
    """Runs a stream in a thread of its own; any thread may submit.

    ``with Server(serve(params, slots=8)) as server: server.submit(request).result()``.
    Each request gets exactly one answer or one error, through its future; cancelling
    the future takes the request out and frees its slot.

    Attributes:
        stream: the stream; nobody else may use it while the server runs.
    """

    def __init__(self, stream: Stream) -> None:
        """Starts.

        Args:
            stream: what `serve` opened, with nothing in it.

        Raises:
            TypeError: if it is something else.
            ValueError: if there are requests in it already, or there was no example to
                fix the shapes by: some thread's first request would, right or wrong.
        """
        if not isinstance(stream, Stream):
            raise TypeError(f"a server runs what serve() opened; got {stream!r:.80}")
        if len(stream):
            raise ValueError("the stream holds requests already; give a new one")
        if not stream.is_open:
            raise ValueError(
                "a server needs to know what requests look like: serve(example=...)"
            )
        self.stream = stream
        # Requests and cancellations that the thread has not seen yet.
        self._asked: collections.deque[_Asked] = collections.deque()
        self._cancelled: collections.deque[Future] = collections.deque()
        self._wake = threading.Condition()
        self._room = threading.BoundedSemaphore(stream.capacity)
        self._closing = False
        self._cancels = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, name="jax-stepcache-server", daemon=True
        )
        self._thread.start()

    def submit(
        self,
        request: Request | Mapping[str, Any],
        *,
        priority: float = 0.0,
        deadline: float | None = None,
        block: bool = True,
        timeout: float | None = None,
    ) -> Future:
        """Asks for a sample.

        Args:
            request: the request; it is checked here, in the caller's thread.
            priority: see `Stream.submit`.
            deadline: likewise, seconds from now.
            block: whether to wait for room where the server is full; a callback of a
                future never does.
            timeout: seconds to wait for it at most.

        Returns:
            A future of the `SampleResult`. It fails with `DeadlineExceeded`, or with
            `FloatingPointError` where a velocity was not finite.

        Raises:
            queue.Full: if there is no room.
            ValueError: for a request that does not fit; nothing else is touched by it.
            TypeError: likewise.
            RuntimeError: if the server is closed, because of the failure that is its
                cause where there was one.
        """
        check_urgency(priority, deadline)
        entry = self.stream.check(request)
        until = None if deadline is None else self.stream.clock() + deadline
        # A future's callback runs in the thread that makes room: it must not wait.
        block = block and threading.current_thread() is not self._thread
        if not self._room.acquire(blocking=block, timeout=timeout if block else None):
            raise queue.Full(
                f"{self.stream.capacity} requests are in the server, its capacity"
            )
        future: Future = Future()
        with self._wake:
            if self._closing:
                self._room.release()
                raise RuntimeError("the server is closed") from self._failure
            self._asked.append(_Asked(entry, priority, until, future))
            self._wake.notify()
        future.add_done_callback(self._notice_cancelled)
        return future

    def close(self, cancel: bool = False) -> None:
        """Stops the thread. What was submitted is finished first.

        Args:
            cancel: whether to cancel it instead.
        """
        with self._wake:
            self._closing = True
            self._cancels = self._cancels or cancel
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        """The server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes; cancels what is left where the block was left by an error."""
        del error, traceback
        self.close(cancel=kind is not None)

    def _run(self) -> None:
        """What the thread does."""
        under_way: dict[int, Future] = {}
        try:
            while self._take_in(under_way):
                for outcome in self.stream.step():
                    self._answer(under_way.pop(outcome.ticket), outcome)
        except BaseException as error:
            # The device has failed, or this code: nobody may wait for ever.
            with self._wake:
                self._closing, self._failure = True, error
                left = [one.future for one in self._asked]
                self._asked.clear()
            for future in [*under_way.values(), *left]:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
                self._room.release()

    def _take_in(self, under_way: dict[int, Future]) -> bool:
        """Waits for something to do, and puts into the stream what was asked.

        Returns:
            Whether there is, or may be, more to do.
        """
        with self._wake:
            self._wake.wait_for(
                lambda: self._asked or self._cancelled or under_way or self._closing
            )
            asked, self._asked = self._asked, collections.deque()
            cancelled, self._cancelled = self._cancelled, collections.deque()
            closing, cancels = self._closing, self._cancels
        for one in asked:
            self._put_in(one, under_way)
        if cancels:
            cancelled.extend(under_way.values())
            for future in under_way.values():
                future.cancel()
        gone = set(cancelled)
        for ticket in [t for t, future in under_way.items() if future in gone]:
            self.stream.cancel(ticket)
        return bool(under_way) or not closing

    def _put_in(self, asked: _Asked, under_way: dict[int, Future]) -> None:
        """Puts a request into the stream, which has a place for it."""
        if asked.future.cancelled():
            self._room.release()
            return
        left = None if asked.until is None else asked.until - self.stream.clock()
        try:
            ticket = self.stream.submit(
                asked.entry, priority=asked.priority, deadline=left
            )
        except Exception as error:
            self._room.release()
            if asked.future.set_running_or_notify_cancel():
                asked.future.set_exception(error)
        else:
            under_way[ticket] = asked.future

    def _answer(self, future: Future, outcome: Outcome) -> None:
        """Gives a future its outcome, unless it has been cancelled meanwhile."""
        self._room.release()
        if not future.set_running_or_notify_cancel():
            return
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.result)

    def _notice_cancelled(self, future: Future) -> None:
        if future.cancelled():
            with self._wake:
                self._cancelled.append(future)
                self._wake.notify()
