"""A policy, its worker, and the sessions: what the connections of a server share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jax_stepcache.serving.robots.asked import Asked
from jax_stepcache.serving.robots.kinds import Kinds
from jax_stepcache.serving.robots.metrics import Metrics
from jax_stepcache.serving.robots.policy import Policy, variants_of
from jax_stepcache.serving.robots.progress import Progress
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.saved import restore, save
from jax_stepcache.serving.robots.sessions import Held, Sessions
from jax_stepcache.serving.robots.settings import ServerSettings
from jax_stepcache.serving.robots.waiting import Answered, Ended, Ticket, sizes
from jax_stepcache.serving.robots.worker import Worker

_log = logging.getLogger("jax_stepcache.robots")
_Result = TypeVar("_Result")
_TICK = 1.0  # seconds between looks for idle sessions
_GRACE = 1.0  # seconds that an idle worker has to do what is asked of it at the end
_PATIENCE = 0.02  # seconds that the worker waits at most until replies are on their way


class Service:
    """What is behind the socket.

    Attributes:
        policy: what is served.
        settings: how.
        metrics: what is counted.
        sessions: of all robots.
        worker: the thread that runs the policy.
        connections: how many there are.
        hanging_up: closes each of them.
        answering: how many of them have a request that is not answered yet.
        progress: how far compiling is.
        ready: whether all programs are compiled.
        draining: whether no new request is taken any more.
        filming: whether a film is being made.
        failure: why nobody is served any more, or None.
        unsaved: why not all sessions were saved at the end, or None.
    """

    def __init__(self, policy: Policy, settings: ServerSettings) -> None:
        """Makes one that has not begun.

        Args:
            policy: what is served; nobody else may use it any more.
            settings: how.
        """
        self.policy, self.settings = policy, settings
        self.metrics = Metrics()
        self._kinds = Kinds(settings.max_kinds)
        self.progress = Progress()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.sessions = Sessions(
            settings.max_sessions,
            settings.session_ttl,
            time.monotonic,
            1.0,
            settings.idle_at_least,
        )
        self.worker = Worker(
            policy,
            slots=settings.slots,
            places=settings.places,
            gather=settings.gather,
            kinds=self._kinds,
            sessions=self.sessions,
            metrics=self.metrics,
            deliver=self._deliver,
            fail=self._fail,
        )
        self.connections = self.answering = 0
        self.hanging_up: set[Callable[[], Awaitable[None]]] = set()
        self.ready = self.draining = self.filming = False
        self.failure: BaseException | None = None
        self.unsaved: Exception | None = None
        self._until = math.inf  # when drained or not, the server ends
        self._grace = _GRACE
        self._tasks: list[asyncio.Task] = []
        self._restored: list[Path] = []
        watched = {
            "queue_length": ("Requests that wait", self.worker.waiting),
            "slots_in_use": ("Robots being stepped", lambda: self.worker.running),
            "sessions": ("Sessions", lambda: len(self.sessions)),
            "connections": ("Connections", lambda: self.connections),
        }
        for name, (said, ask) in watched.items():
            self.metrics.watch(name, said, ask)

    async def begin(self) -> None:
        """Starts the worker, which compiles and restores before it serves."""
        self._loop = asyncio.get_running_loop()
        self.worker.start()
        self._tasks = [
            asyncio.create_task(self._prepare()),
            asyncio.create_task(self._forget_idle()),
        ]

    async def drain(self) -> None:
        """Takes no new request, and waits for those that are under way."""
        self.draining = True
        self._until = min(self._until, time.monotonic() + self.settings.drain)
        await self._patiently(self._busy)

    def stop_at_once(self) -> None:
        """Waits for nothing any more; said by whoever runs the event loop."""
        self.draining, self._until, self._grace = True, -math.inf, 0.0

    async def _patiently(
        self, going_on: Callable[[], bool], grace: bool = False
    ) -> None:
        """Waits while something goes on, until the time to drain is over."""
        begun = time.monotonic()
        # The grace is asked for each time: `stop_at_once` may come meanwhile.
        while going_on() and time.monotonic() < max(
            self._until, begun + (self._grace if grace else -math.inf)
        ):
            await asyncio.sleep(0.01)

    async def hang_up(self) -> None:
        """Closes all connections. uvicorn does that itself."""
        await asyncio.gather(*(close() for close in list(self.hanging_up)))

    def _busy(self) -> bool:
        return self.answering > 0 or not self.worker.idle()

    async def end(self) -> None:
        """Drains, saves sessions, and stops the worker.

        A step that takes longer than there is time is not waited for, nor are sessions
        saved then, for only the worker may read them.
        """
        await self.drain()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        try:
            # Before all are restored, what is there would be replaced by less; after a
            # failure nobody runs the policy.
            if self.settings.folder is not None and self.ready:
                await self._save(self.settings.folder)
        except Exception as error:
            _log.exception("not all sessions were saved: %s", error)
            self.unsaved = error
        finally:
            self.worker.stop()
            await self._patiently(self.worker.is_alive, grace=True)
            if self.worker.is_alive():
                _log.warning("a step that is under way is not waited for any longer")

    async def _save(self, folder: Path) -> None:
        job = self.worker.call(
            lambda: save(folder, self.policy, self.sessions, self._restored)
        )
        await self._patiently(lambda: not (job.running() or job.done()), grace=True)
        if job.cancel():
            said = "no session saved: a step takes longer than there is time"
            raise TimeoutError(said)
        # What has begun is not left half done, unless that is told.
        while not job.done() and self._grace:
            await asyncio.sleep(0.01)
        if not job.done():
            raise TimeoutError("told to stop at once while they were saved")
        _log.info("sessions saved", extra={"sessions": job.result()})

    async def ask(
        self, asked: Asked, session: str, own: bool, name: str, came: float
    ) -> Answered:
        """Takes a control step for a robot.

        Args:
            asked: what it wants.
            session: the id of its session.
            own: whether a session that begins now ends with the connection.
            name: the request's id.
            came: when its frame did; it may have waited for the reply to another.

        Returns:
            The answer.

        Raises:
            Refused: if there is none; whatever is raised, the request has ended.
        """
        self.check_open()
        held = self.sessions.get(session, self.policy.open, own)
        future = asyncio.get_running_loop().create_future()
        until = came + asked.deadline
        ticket = Ticket(held, asked.message, asked.options, came, until, name, future)
        try:
            self.worker.submit(ticket)
            return await self._within(asked.deadline, came, future)
        finally:
            # For whoever waits no more: a request that has ended is in no queue.
            self.worker.cancel(ticket)
            self.sessions.done(held)

    async def reset(self, session: str, deadline: float, came: float) -> None:
        """Resets a robot's session, if there is one.

        Args:
            session: its id.
            deadline: seconds.
            came: when its frame did.

        Raises:
            Refused: if it is not done in time; it never is, if it had not begun.
        """
        self.check_open()
        held = self.sessions.find(session)
        if held is not None:
            job = self.worker.call(lambda: self._reset(held))
            await self._within(deadline, came, asyncio.wrap_future(job))

    async def _within(
        self, seconds: float, came: float, future: asyncio.Future[_Result]
    ) -> _Result:
        """Waits for the worker; what it has not begun by then is cancelled."""
        try:
            async with asyncio.timeout(came + seconds - time.monotonic()):
                return await future
        except TimeoutError:
            raise Refused(
                "deadline", f"no answer within {seconds:g} s", self.worker.retry_after()
            ) from None

    def _deliver(self, ended: list[Ended], wait: bool) -> None:
        """Gives requests their outcomes; called in the worker's thread."""
        if self._loop is None or not ended:
            return
        told = threading.Event()
        # All at once: waking the loop costs more than what it does then. Where it is
        # closed nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_give, ended, told)
            if wait:
                told.wait(_PATIENCE)

    async def film(self, session: str) -> np.ndarray | None:
        """What a robot imagined lately, uint8 (F, H, W, 3); None without a session."""
        held = self.sessions.find(session)
        if held is None:
            return None
        return await asyncio.wrap_future(self.worker.call(lambda: self._film(held)))

    def _fail(self, error: BaseException) -> None:
        """The worker has failed: the server ends, and its supervisor starts another."""
        self.failure, self.ready = error, False

    def _reset(self, held: Held) -> None:
        session = held.session  # read once: the event loop may forget it meanwhile
        if session is not None:
            session = self.policy.reset(session)
            held.session = None if held.gone else session

    def _film(self, held: Held) -> np.ndarray | None:
        session = held.session  # likewise
        return None if session is None else self.policy.film(session)

    def check_open(self) -> None:
        """Raises `Refused` while programs are compiled, and while the server drains."""
        if self.draining or self.failure is not None:
            raise Refused(
                "draining", "the server is stopping; another may be there soon", 1.0
            )
        if not self.ready:
            done, total = self.progress.done, self.progress.total
            said = f"the server is compiling, {done} of {total or 'its'} steps are done"
            raise Refused("overloaded", said, self.progress.retry_after())

    async def _prepare(self) -> None:
        try:
            await self._compile_and_restore()
        except Exception as error:
            _log.exception("the policy cannot be served")
            self.failure = error
        else:
            self.ready = True
            _log.info("ready")

    async def _compile_and_restore(self) -> None:
        await asyncio.wrap_future(self.worker.call(self._compile))
        folder = self.settings.folder
        if folder is not None:
            job = self.worker.call(lambda: restore(folder, self.policy, self.sessions))
            self._restored = await asyncio.wrap_future(job)
            _log.info("sessions restored", extra={"sessions": len(self._restored)})

    def _compile(self) -> None:
        """Runs each number of robots that may be stepped together, and a film."""
        counts = sizes(self.settings.slots)
        planned = []
        for count in counts:
            examples = self.policy.examples(count)
            told = [(messages, {}) for messages in examples]
            told += [(examples[-1], one) for one in variants_of(self.policy)]
            planned.append((count, told))
        self.progress.begin(sum(len(told) for _, told in planned))
        for robots, told in planned:
            sessions: list[Any] = [self.policy.open() for _ in range(robots)]
            for messages, options in told:
                if self.draining:  # before anybody was served
                    return
                for session, message in zip(sessions, messages, strict=True):
                    self._kinds.prepare(self.policy.check(session, message, options))
                replies = self.policy.step_many(sessions, messages, [options] * robots)
                sessions = [reply.session for reply in replies]
                self.progress.step()
            if robots == 1 and not self.draining:
                self.policy.film(sessions[0])

    async def _forget_idle(self) -> None:
        while True:
            await asyncio.sleep(min(_TICK, self.settings.session_ttl / 2))
            self.sessions.forget_idle()


def _give(ended: list[Ended], told: threading.Event) -> None:
    """Ends futures, and tells when those who waited for them have been on."""
    for ticket, outcome in ended:
        if ticket.future.done():  # whoever asked has gone
            continue
        if isinstance(outcome, BaseException):
            ticket.future.set_exception(outcome)
        else:
            ticket.future.set_result(outcome)
    # Behind the tasks that have just been woken, which send their replies at once.
    asyncio.get_running_loop().call_soon(told.set)
