"""A stream of requests: the host adds and takes between compiled chunks of calls."""

from __future__ import annotations

import collections
import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.errors import naming_arguments
from jax_stepcache.kept import kept
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.explicit import as_in_context, automatic_context
from jax_stepcache.options import Request
from jax_stepcache.processes import whole_everywhere
from jax_stepcache.requests.admission import (
    Admission,
    admission_for,
)
from jax_stepcache.requests.compiled import (
    Report,
    advance,
    opened_state,
    put,
    taken_out,
)
from jax_stepcache.requests.finished import finished_result
from jax_stepcache.requests.places import Entry
from jax_stepcache.requests.request import as_request, resolve_request
from jax_stepcache.requests.together import put_together
from jax_stepcache.serving.held import Held, check_urgency
from jax_stepcache.serving.outcome import DeadlineExceeded, Outcome
from jax_stepcache.serving.use import Use

# Steps that requests may take where nobody has said.
_MOST_STEPS = 50


class _UnderWay(NamedTuple):
    """A chunk that has been begun.

    Attributes:
        waiting: requests that it may have taken, in this order.
        report: what it has done, still on the device.
    """

    waiting: list[Held]
    report: Report


class Stream:
    """Requests through slots, in chunks; `serve` opens one.

    Memory is taken at the first request, or the example, and does not grow.

    Attributes:
        capacity: how many requests may be in it.
        network_calls: how many there have been.
        clock: tells the seconds that deadlines are counted in.
        use: who may use it.
    """

    def __init__(
        self,
        params: Any,
        options: Mapping[str, Any],
        slots: int,
        capacity: int,
        calls_per_chunk: int,
        max_inference_steps: int | None,
        clock: Callable[[], float],
    ) -> None:
        """Makes a stream; see `serve`, which checks what is given."""
        self.capacity = capacity
        self.network_calls = 0
        self._params = kept(params)
        self._options = {
            name: x if name == "model" else kept(x) for name, x in options.items()
        }
        self._slots = slots
        self._limit = np.int32(calls_per_chunk)
        self._max_steps = max_inference_steps
        self.clock = clock
        self.use = Use()
        self._opening = threading.Lock()
        self._admission: Admission | None = None
        self._state: Any = None
        self._under_way: _UnderWay | None = None
        self._tickets = itertools.count()
        self._held: dict[int, Held] = {}
        self._free = list(range(capacity))
        self._dropped = np.zeros(capacity, bool)
        # Outcomes that nobody has been given yet.
        self._settled: collections.deque[Outcome] = collections.deque()

    @property
    def is_open(self) -> bool:
        """Whether an example, or a request, has fixed the shapes."""
        return self._admission is not None

    def __len__(self) -> int:
        """How many requests are in it, waiting and running."""
        return len(self._held)

    def check(self, request: Request | Mapping[str, Any]) -> Entry:
        """Checks a request; any thread may.

        Args:
            request: the request.

        Returns:
            What `submit` takes in its place, to save another check.

        Raises:
            ValueError: if it does not fit, or not the shapes of those before.
            TypeError: where something is of the wrong kind.
        """
        checked = resolve_request(self._params, self._options, as_request(request))
        with self._opening:
            if self._admission is None:
                return self._open(checked)
        return self._admission.entry(checked)

    @naming_arguments()
    def submit(
        self,
        request: Request | Mapping[str, Any] | Entry,
        *,
        priority: float = 0.0,
        deadline: float | None = None,
    ) -> int:
        """Puts a request in.

        Args:
            request: the request, or what `check` made of it.
            priority: larger ones go first; then the earlier deadline, then the earlier
                request.
            deadline: seconds from now; a request that is not finished by then fails. It
                is looked at between chunks.

        Returns:
            Its ticket, for `cancel` and to know its outcome by.

        Raises:
            queue.Full: if the stream is at its capacity; take outcomes first.
            ValueError: see `check`; or if priority or deadline is no number.
            TypeError: likewise.
            RuntimeError: if another thread is using it, or it has failed.
        """
        check_urgency(priority, deadline)
        with self.use:
            if not self._free:
                raise queue.Full(
                    f"the stream holds {len(self)} requests, its capacity: take "
                    "outcomes before submitting more"
                )
            entry = request if isinstance(request, Entry) else self.check(request)
            until = math.inf if deadline is None else self.clock() + deadline
            place = self._free.pop()
            try:
                told = np.int32(place), put_together([entry])
                told = sent(told, self._params)
                with automatic_context():
                    self._state = put(self._state, *told)
            except BaseException as error:
                self._free.append(place)
                self._note_lost(error)
                raise
            ticket = next(self._tickets)
            self._held[ticket] = Held(ticket, place, entry, priority, until)
            return ticket

    def cancel(self, ticket: int) -> bool:
        """Takes a request out; its outcome is a `CancelledError`.

        Returns:
            Whether it was still in the stream.
        """
        with self.use:
            held = self._held.get(ticket)
            if held is None:
                return False
            self._fail(held, CancelledError(f"request {ticket} was cancelled"))
            return True

    def compile(self) -> None:
        """Compiles the chunk, once there was an example or a request.

        Raises:
            RuntimeError: if there was none.
        """
        if self._admission is None:
            raise RuntimeError("nothing has been checked yet that gives the shapes")
        with self.use:
            self._run(self._admission)

    def step(self) -> list[Outcome]:
        """Runs one chunk.

        Returns:
            The outcomes of requests that are done with, however that came about.
        """
        self._advance()
        return list(self._drained())

    def __iter__(self) -> Iterator[Outcome]:
        """Runs until the stream is empty, and yields outcomes as they come."""
        while self._held or self._settled:
            if not self._settled:
                self._advance()
            yield from self._drained()

    def feed(
        self, requests: Iterable[Request | Mapping[str, Any]]
    ) -> Iterator[Outcome]:
        """Runs requests that come one after the other, as room is made for them.

        Args:
            requests: any iterable, also one without an end; it is asked for a request
                when there is a place.

        Yields:
            Outcomes as requests finish. Tickets count the requests. One that does not
            fit has its error for an outcome.
        """
        coming = iter(requests)
        more = True
        while more or self._held or self._settled:
            while more and self._free:
                try:
                    request = next(coming)
                except StopIteration:
                    more = False
                    break
                try:
                    self.submit(request)
                except (TypeError, ValueError) as error:
                    outcome = Outcome(next(self._tickets), None, error)
                    self._settled.append(outcome)
                    break
            self._advance()
            yield from self._drained()

    def _drained(self) -> Iterator[Outcome]:
        # One by one: who stops in the middle finds the others there afterwards.
        while self._settled:
            yield as_in_context(self._settled.popleft())

    def _advance(self) -> None:
        """Runs a chunk, where there is something to run."""
        with self.use:
            self._expire(self._held.values())
            if self._admission is not None and self._held:
                self._run(self._admission)

    def _open(self, first: Any) -> Entry:
        """Fixes shapes and guidance by the first request, and takes the memory."""
        most = self._max_steps
        if most is None:
            # By a table every slot keeps a velocity for each step there may be.
            most = _MOST_STEPS if first.tables is None else first.program.num_steps
        admission = admission_for(self._options, [first], self._slots, most)
        entry = admission.entry(first)
        with automatic_context():
            self._state = opened_state(
                admission.plan, admission.weights, entry, self.capacity
            )
        self._admission = admission.with_example(entry)
        return entry

    @automatic_context()
    def _run(self, admission: Admission) -> None:
        try:
            # Who is interrupted while waiting for a report finds it there afterwards.
            if self._under_way is None:
                self._under_way = self._begun(admission)
            waiting, report = self._under_way
            report = jax.device_get(whole_everywhere(report))
        except BaseException as error:
            if self._under_way is not None and isinstance(error, Exception):
                self.use.fail(error)
            self._note_lost(error)
            raise
        self._under_way = None
        self.network_calls += int(report.calls)
        for held in waiting[: int(report.taken)]:
            held.waiting = False
        self._collect(admission, report)

    def _begun(self, admission: Admission) -> _UnderWay:
        """Begins a chunk."""
        waiting = [held for held in self._held.values() if held.waiting]
        waiting.sort(key=lambda held: held.urgency)
        order = np.zeros(self.capacity, np.int32)
        order[: len(waiting)] = [held.place for held in waiting]
        # A copy: the program may read it after this returns.
        dropped = self._dropped.copy()
        told = order, np.int32(len(waiting)), dropped, self._limit
        weights = admission.weights
        self._state, report = advance(
            admission.plan, weights, self._state, *sent(told, weights)
        )
        self._dropped[:] = False
        return _UnderWay(waiting, report)

    def _note_lost(self, error: BaseException) -> None:
        """Notes that requests and slots are gone, where they were given away.

        Who could not be traced has not taken them yet.
        """
        if any(x.is_deleted() for x in jax.tree.leaves(self._state)):
            self.use.fail(error)

    def _collect(self, admission: Admission, report: Report) -> None:
        poisoned = set(report.running[report.nonfinite & (report.running >= 0)])
        started = [held for held in self._held.values() if not held.waiting]
        finished = []
        for held in self._expire(started):
            if report.finished[held.place]:
                finished.append(held)
            elif held.place in poisoned:
                self._fail(held, _not_finite(held.ticket))
        if finished:
            self._deliver(admission, finished)

    @automatic_context()
    def _deliver(self, admission: Admission, finished: list[Held]) -> None:
        there = self._state.places.sample, self._state.places.trace
        # All that a chunk has finished is begun first, and waited for once.
        out = [
            taken_out(there, sent(np.int32(held.place), self._params), 1)[0]
            for held in finished
        ]
        traces = jax.device_get(whole_everywhere([trace for _, trace in out]))
        for held, (sample, _), trace in zip(finished, out, traces, strict=True):
            del self._held[held.ticket]
            self._free.append(held.place)
            outcome = Outcome(held.ticket, None, _not_finite(held.ticket))
            if not trace.nonfinite:
                result = finished_result(
                    sample,
                    trace,
                    held.entry,
                    self.network_calls,
                    admission.plan.span is not None,
                )
                outcome = Outcome(held.ticket, result, None)
            self._settled.append(outcome)

    def _expire(self, some: Iterable[Held]) -> list[Held]:
        """Fails those who are late, and returns the others."""
        now, in_time = self.clock(), []
        for held in list(some):
            if held.deadline > now:
                in_time.append(held)
                continue
            late = f"request {held.ticket} was not finished by its deadline"
            self._fail(held, DeadlineExceeded(late))
        return in_time

    def _fail(self, held: Held, error: BaseException) -> None:
        del self._held[held.ticket]
        # Its slot, if it has one, is freed before the place's next request can start.
        self._dropped[held.place] = True
        self._free.append(held.place)
        self._settled.append(Outcome(held.ticket, None, error))


def _not_finite(ticket: int) -> FloatingPointError:
    return FloatingPointError(
        f"request {ticket} had a NaN or an infinity in a velocity of the network"
    )
