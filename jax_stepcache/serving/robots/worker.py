"""The one thread that runs the policy: gathers requests that wait, and steps them."""

from __future__ import annotations

import collections
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from jax_stepcache.serving.context import context_here
from jax_stepcache.serving.robots.kinds import Kinds
from jax_stepcache.serving.robots.logs import on_behalf_of
from jax_stepcache.serving.robots.metrics import Metrics
from jax_stepcache.serving.robots.policy import Policy, Reply
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.sessions import Held, Sessions
from jax_stepcache.serving.robots.waiting import (
    Answered,
    Ended,
    Ticket,
    Waiting,
    raisable,
)

_log = logging.getLogger("jax_stepcache.robots")
_Result = TypeVar("_Result")


class Worker:
    """Runs a policy in a thread of its own; other threads submit.

    Attributes:
        running: how many robots are being stepped.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        slots: int,
        places: int,
        gather: float,
        kinds: Kinds,
        sessions: Sessions,
        metrics: Metrics,
        deliver: Callable[[list[Ended], bool], None],
        fail: Callable[[BaseException], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes one that has not begun.

        Args:
            policy: nobody else may call it from now on.
            slots: see `ServerSettings`; so are the next two.
            places: likewise.
            gather: likewise.
            kinds: of messages that are taken.
            sessions: of all robots; a new one is admitted when its request fits.
            metrics: told of each step.
            deliver: takes the outcomes of requests, and waits until they are on their
                way where its second argument is true.
            fail: told of what has ended the thread, which serves nobody any more.
            clock: tells seconds.
        """
        self._policy, self._slots, self._gather = policy, slots, gather
        self._kinds, self._sessions = kinds, sessions
        self._metrics, self._deliver, self._clock = metrics, deliver, clock
        self._fail = fail
        self._batch: list[Ticket] = []  # being stepped
        self._waiting = Waiting(places)
        self._jobs: collections.deque[tuple[Callable[[], Any], Future]] = (
            collections.deque()
        )
        self._wake = threading.Condition()
        self._stopping = False
        self.running = 0
        # Whom the worker awaits, while it does; whoever comes wakes it for them only.
        self._awaited: list[Held] | None = None
        # Seconds that steps took lately, and who was answered by the last one.
        self._usual = 0.0
        self._answered: list[Held] = []
        # JAX's switches are those of whoever made the worker.
        self._context = context_here()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name="jax-stepcache-robots",
            daemon=True,
        )

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the step that is under way; those who wait are told."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def is_alive(self) -> bool:
        """Whether the thread has begun, and has not ended yet."""
        return self._thread.is_alive()

    def submit(self, ticket: Ticket) -> None:
        """Lets a request wait for its step.

        Raises:
            Refused: if too many wait already, or the worker has stopped.
        """
        with self._wake:
            if self._stopping:
                raise Refused("draining", "the server is stopping")
            self._waiting.put(ticket, self.retry_after())
            ticket.held.gap = self._clock() - ticket.held.answered
            if self._awaited is None or self._are_together():
                self._wake.notify_all()

    def cancel(self, ticket: Ticket) -> None:
        """Takes a request out, if it still waits; its future does not end."""
        with self._wake:
            self._waiting.remove(ticket)

    def call(self, job: Callable[[], _Result]) -> Future[_Result]:
        """Runs something between two steps, where the policy may be used."""
        future: Future[_Result] = Future()
        with self._wake:
            if self._stopping:
                future.set_exception(Refused("draining", "the server is stopping"))
                return future
            self._jobs.append((job, future))
            self._wake.notify_all()
        future.add_done_callback(self._forget_cancelled)
        return future

    def _forget_cancelled(self, future: Future) -> None:
        """Whoever gives up between two long steps again and again leaves nothing."""
        if future.cancelled():
            with self._wake:
                left = (one for one in self._jobs if one[1] is not future)
                self._jobs = collections.deque(left)

    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        with self._wake:
            return not (len(self._waiting) or self.running or self._jobs)

    def retry_after(self) -> float:
        """Seconds until those who wait now will have been served."""
        rounds = -(-max(len(self._waiting), 1) // self._slots)
        return max(rounds * self._usual, 0.01)

    def _run(self) -> None:
        with self._context.entered():
            self._serve()

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        # Of a policy that breaks its promises: nobody waits for it.
        except Exception as error:
            _log.exception("the worker has failed")
            self._fail(error)
            failed = raisable(error)
            self._deliver([(ticket, failed) for ticket in self._batch], False)
            self._batch = []
        with self._wake:
            self._stopping, self.running = True, 0
            left, jobs = self._waiting.all(), self._jobs
            self._jobs = collections.deque()
        stopping = Refused("draining", "the server is stopping")
        self._deliver([(ticket, stopping) for ticket in left], False)
        for _, future in jobs:
            if future.set_running_or_notify_cancel():
                future.set_exception(stopping)

    def _turn(self) -> bool:
        """Does what there is to do. A method: a thread that waits holds nothing then.

        Returns:
            Whether there may be more.
        """
        with self._wake:
            self._wake.wait_for(
                lambda: self._jobs or len(self._waiting) or self._stopping
            )
            if self._stopping:
                return False
            jobs, self._jobs = self._jobs, collections.deque()
            self._wait_for_others()
            late = self._waiting.late(self._clock())
            batch = self._batch = self._waiting.take(self._slots)
            self.running = len(batch)
        self._refuse_late(late)
        for job, future in jobs:
            _do(job, future)
        if batch:
            self._step(batch)
        with self._wake:
            self._batch, self.running = [], 0
        return True

    def _wait_for_others(self) -> None:
        """Waits a moment for robots that were answered a moment ago; under the lock.

        Robots that are stepped together ask together again. Without this the first of
        them would be stepped alone, and the others would wait for that. One that took
        longer the last time is not awaited.
        """
        window = min(self._gather, self._usual / 2)
        until = self._clock() + window
        coming = [
            held
            for held in self._answered
            if not held.gone
            and held.gap <= window
            and held.answered + window > self._clock()
        ]
        self._answered = []
        if not len(self._waiting):
            return
        self._awaited = coming
        self._wake.wait_for(
            lambda: self._stopping or self._are_together(),
            timeout=max(until - self._clock(), 0),
        )
        self._awaited = None

    def _are_together(self) -> bool:
        return self._waiting.ready() >= self._slots or all(
            map(self._waiting.has, self._awaited or ())
        )

    def _refuse_late(self, late: list[Ticket]) -> None:
        said = "the deadline passed before its step"
        refused = [Refused("deadline", said, self.retry_after()) for _ in late]
        self._deliver(list(zip(late, refused, strict=True)), False)

    def _step(self, batch: list[Ticket]) -> None:
        # As they are now: a session may be forgotten meanwhile.
        sessions = [(ticket, ticket.held.session) for ticket in batch]
        fit = [one for one in sessions if self._fits(*one)]
        # One bad request fewer may be no power of two: then the rest goes in two steps.
        while fit := self._in_time(fit):
            some = fit[: 1 << (len(fit).bit_length() - 1)]
            fit = fit[len(some) :]
            self._step_together(some)

    def _in_time(self, fit: list[tuple[Ticket, Any]]) -> list[tuple[Ticket, Any]]:
        """Those whose step still is of use: a step before it took its time."""
        now = self._clock()
        self._refuse_late([ticket for ticket, _ in fit if ticket.until <= now])
        return [
            one for one in fit if one[0].until > now and not one[0].future.cancelled()
        ]

    def _fits(self, ticket: Ticket, session: Any) -> bool:
        if session is None:
            lost = "the session was lost with a step that failed; ask again for another"
            self._deliver([(ticket, Refused("internal", lost))], False)
            return False
        try:
            with on_behalf_of(ticket.name):
                kind = self._policy.check(session, ticket.message, ticket.options)
            self._kinds.admit(kind)
            self._sessions.admit(ticket.held)
        except (ValueError, TypeError) as error:
            self._deliver([(ticket, Refused("bad_request", str(error)))], False)
            return False
        except Refused as refused:
            self._deliver([(ticket, refused)], False)
            return False
        except Exception as error:
            _log.exception("check failed", extra={"request": ticket.name})
            ticket.held.session = None  # as after a step that failed
            self._deliver([(ticket, raisable(error))], False)
            return False
        return True

    def _step_together(self, some: list[tuple[Ticket, Any]]) -> None:
        stepped = [ticket.held for ticket, _ in some]
        self._sessions.hold(stepped)
        try:
            ended = self._stepped(some)
        finally:
            # Before anybody is told: whoever asks again finds what there is then.
            self._sessions.done(*stepped)
        if ended is None:
            for one in some:
                self._step_together([one])
            return
        # Two threads that both compute in Python slow each other down: where another
        # step follows, the replies go first.
        self._deliver(ended, len(self._waiting) > 0)

    def _stepped(self, some: list[tuple[Ticket, Any]]) -> list[Ended] | None:
        """The outcomes of a step; None if each is to be stepped by itself."""
        begun = self._clock()
        tickets = [ticket for ticket, _ in some]
        try:
            replies = self._policy.step_many(
                [session for _, session in some],
                [ticket.message for ticket in tickets],
                [ticket.options for ticket in tickets],
            )
            if len(replies) != len(tickets):
                raise RuntimeError(f"{len(replies)} replies to {len(tickets)} robots")
        except (ValueError, TypeError) as error:
            # Nothing was computed, so each can still be stepped by itself.
            if len(tickets) > 1:
                return None
            return [(tickets[0], Refused("bad_request", str(error)))]
        except Exception as error:
            _log.exception("step failed", extra={"request": tickets[0].name})
            for ticket in tickets:
                ticket.held.session = None
            return [(ticket, raisable(error)) for ticket in tickets]
        now = self._clock()
        self._usual = (
            now - begun
            if not self._usual
            else (0.8 * self._usual + 0.2 * (now - begun))
        )
        calls = sum(int(reply.computed.sum()) for reply in replies)
        steps = sum(len(reply.computed) for reply in replies)
        self._metrics.step(len(tickets), now - begun, calls, steps - calls)
        return [
            (ticket, self._ended(ticket, reply, begun, now, len(tickets)))
            for ticket, reply in zip(tickets, replies, strict=True)
        ]

    def _ended(
        self, ticket: Ticket, reply: Reply, begun: float, now: float, together: int
    ) -> Answered | FloatingPointError:
        held, ran = ticket.held, int(reply.computed.sum())
        held.session = reply.session
        if held.gone:  # meanwhile: its memory is not kept
            held.session = None
        held.begun = True
        held.steps += 1
        held.calls += ran
        held.skipped += len(reply.computed) - ran
        held.answered = now
        self._answered.append(held)
        if not np.isfinite(reply.actions).all():
            # No arm shall move by these, and what is remembered may be no better.
            held.session = None
            return FloatingPointError("actions are not finite")
        waited = begun - ticket.came
        return Answered(reply.actions, reply.computed, now - begun, waited, together)


def _do(job: Callable[[], Any], future: Future) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(raisable(error))
