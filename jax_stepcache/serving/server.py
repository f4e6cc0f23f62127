"""A front of a stream for many threads: futures, and one thread that runs chunks."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self

from jax_stepcache.check import check_flag, check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.options import Request
from jax_stepcache.requests.places import Entry
from jax_stepcache.serving.answer import Answer
from jax_stepcache.serving.context import context_here
from jax_stepcache.serving.ending import Ending
from jax_stepcache.serving.held import check_urgency
from jax_stepcache.serving.stream import Stream


class _Asked(NamedTuple):
    """A request on its way into the stream."""

    entry: Entry
    priority: float
    until: float | None
    future: Answer


class Server:
    """Runs a stream in a thread of its own; any thread may submit.

    ``with Server(serve(params, slots=8)) as server: server.submit(request).result()``.
    Each request gets exactly one answer or one error, through its future; cancelling
    the future takes the request out and frees its slot.

    The thread works under the context managers of JAX that the opener is in
    (``jax.default_matmul_precision``, ``jax.enable_x64``, ``jax.set_mesh`` and so on),
    and checks requests under them, whoever submits. A server that is still open when
    the process ends is closed then; what was submitted is finished first, or cancelled
    where an error has ended the script.

    Attributes:
        stream: the stream; nobody else may use it while the server runs.
    """

    def __init__(self, stream: Stream) -> None:
        """Starts.

        Args:
            stream: what `serve` opened, with nothing in it.

        Raises:
            TypeError: if it is something else.
            ValueError: if there are requests in it already, or another server runs it;
                or there was no example to fix the shapes by: some thread's first
                request would, right or wrong.
            RuntimeError: if it has failed.
        """
        if not isinstance(stream, Stream):
            raise TypeError(f"a server runs what serve() opened; got {stream!r:.80}")
        if len(stream):
            raise ValueError("the stream holds requests already; give a new one")
        if not stream.is_open:
            raise ValueError(
                "a server needs to know what requests look like: serve(example=...)"
            )
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name="jax-stepcache-server",
            daemon=True,
        )
        self._context = context_here()
        stream.use.reserve(self._thread)
        self.stream = stream
        # Requests and cancellations that the thread has not seen yet.
        self._asked: collections.deque[_Asked] = collections.deque()
        self._cancelled: collections.deque[Future] = collections.deque()
        self._checks = 0
        self._wake = threading.Condition()
        self._room = threading.BoundedSemaphore(stream.capacity)
        self._closing = False
        self._cancels = False
        self._failure: BaseException | None = None
        self._thread.start()
        self._ending = Ending(self)

    @naming_arguments()
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
            ValueError: for a request that does not fit, or where one of the others is
                of the wrong kind; nothing else is touched by it.
            TypeError: likewise.
            RuntimeError: if the server is closed, because of the failure that is its
                cause where there was one.
        """
        check_urgency(priority, deadline)
        check_flag("block", block)
        if timeout is not None:
            check_numbers("timeout", timeout)
        with self._checking():
            entry = self.stream.check(request)
        until = None if deadline is None else self.stream.clock() + deadline
        # A future's callback runs in the thread that makes room: it must not wait.
        block = block and threading.current_thread() is not self._thread
        if not self._room.acquire(blocking=block, timeout=timeout if block else None):
            raise queue.Full(
                f"{self.stream.capacity} requests are in the server, its capacity"
            )
        try:
            future = Answer(self._thread)
            with self._wake:
                self._check_open()
                self._asked.append(_Asked(entry, priority, until, future))
                self._wake.notify_all()
        except BaseException:
            self._room.release()
            raise
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
            self._wake.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self._ending.cancel()

    def close_for_good(self, cancel: bool) -> None:
        """Closes, and waits until no thread is about to submit.

        Args:
            cancel: see `close`.
        """
        self.close(cancel)
        with self._wake:
            self._wake.wait_for(lambda: not self._checks)

    def __enter__(self) -> Self:
        """The server.

        Raises:
            RuntimeError: if it is closed.
        """
        self._check_open()
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

    def _check_open(self) -> None:
        if self._closing:
            raise RuntimeError("the server is closed") from self._failure

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        """While a request is checked, under the server's context."""
        with self._wake:
            self._check_open()
            self._checks += 1
        try:
            with self._context.entered():
                yield
        finally:
            with self._wake:
                self._checks -= 1
                self._wake.notify_all()

    def _run(self) -> None:
        """What the thread does."""
        under_way: dict[int, Answer] = {}
        try:
            with self._context.entered():
                while self._take_in(under_way):
                    self._run_chunk(under_way)
        except BaseException as error:
            # The device has failed, or this code: nobody may wait for ever.
            with self._wake:
                self._closing, self._failure = True, error
                left = [one.future for one in self._asked]
                self._asked.clear()
            for future in [*under_way.values(), *left]:
                self._room.release()
                future.end(error=error)
        finally:
            self.stream.use.free()

    def _run_chunk(self, under_way: dict[int, Answer]) -> None:
        # A method of its own: while the thread waits, it holds on to no result.
        for outcome in self.stream.step():
            self._room.release()
            under_way.pop(outcome.ticket).end(outcome.result, outcome.error)

    def _take_in(self, under_way: dict[int, Answer]) -> bool:
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

    def _put_in(self, asked: _Asked, under_way: dict[int, Answer]) -> None:
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
            asked.future.end(error=error)
        else:
            under_way[ticket] = asked.future

    def _notice_cancelled(self, future: Future) -> None:
        if future.cancelled():
            with self._wake:
                self._cancelled.append(future)
                self._wake.notify_all()
