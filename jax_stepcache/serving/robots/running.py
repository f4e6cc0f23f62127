"""A server on a port: uvicorn, stopped without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from jax_stepcache.paths import as_path
from jax_stepcache.serving.robots.admission import know_hosts
from jax_stepcache.serving.robots.app import application
from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.reading import asking_clients, reading_clients
from jax_stepcache.serving.robots.saved import check_folder
from jax_stepcache.serving.robots.service import Service
from jax_stepcache.serving.robots.settings import ServerSettings

_log = logging.getLogger("jax_stepcache.robots")


class PolicyServer:
    """A policy behind a websocket.

    ``policy_server(pipeline).run(port=8000)`` serves until the process is told to stop;
    ``with policy_server(pipeline).background() as url: ...`` serves from a thread.

    Attributes:
        service: what is behind the socket: the sessions, the worker, what is counted.
        app: the ASGI application, for whoever runs it otherwise. It serves once.
    """

    def __init__(self, policy: Policy, settings: ServerSettings) -> None:
        """Makes a server that does not run yet.

        Args:
            policy: what is served.
            settings: how.
        """
        self.service = Service(policy, settings)
        self.app: Starlette = application(self.service)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        """Serves until SIGTERM or SIGINT, which drain; a second one does not wait.

        Args:
            host: the address to listen at; ``"0.0.0.0"`` for all of this machine.
            port: likewise; 0 for any that is free.
            certificate: file of a TLS certificate chain; None for no TLS.
            key: file of its key.

        Raises:
            FileNotFoundError: if there is no such file.
            OSError: if the port is taken, or sessions cannot be saved where they shall.
            RuntimeError: if the policy cannot be compiled, or not all sessions were
                saved.
        """
        server = self._uvicorn(host, certificate, key)
        with contextlib.closing(_listening(host, port)) as at:
            _log.info("listening", extra={"at": _url(at, certificate is not None)})
            server.run(sockets=[at])
        self._check_failure()
        unsaved = self.service.unsaved
        if unsaved is not None:
            raise RuntimeError(f"not all sessions were saved: {unsaved}") from unsaved

    @contextlib.contextmanager
    def background(
        self, host: str = "127.0.0.1", port: int = 0, **tls: Any
    ) -> Iterator[str]:
        """Serves from a thread while the block runs; drains at its end.

        Args:
            host: see `run`.
            port: likewise.
            **tls: likewise.

        Yields:
            The URL, ``ws://127.0.0.1:12345``.
        """
        server = self._uvicorn(host, tls.get("certificate"), tls.get("key"))
        with contextlib.closing(_listening(host, port)) as at:
            thread = threading.Thread(target=server.run, args=([at],), daemon=True)
            thread.start()
            try:
                yield _url(at, tls.get("certificate") is not None)
            finally:
                server.drain()
                thread.join()

    def wait_until_ready(self, timeout: float = 600.0) -> None:
        """Waits until all programs are compiled; `background` does not.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: if that is not enough.
            RuntimeError: if the policy cannot be compiled.
        """
        until = time.monotonic() + timeout
        while not self.service.ready:
            self._check_failure()
            if time.monotonic() > until:
                raise TimeoutError(f"not ready after {timeout:g} s")
            time.sleep(0.01)

    def _check_failure(self) -> None:
        failure = self.service.failure
        if failure is not None:
            raise RuntimeError(f"the policy cannot be served: {failure}") from failure

    def _uvicorn(
        self,
        host: str,
        certificate: str | os.PathLike[str] | None,
        key: str | os.PathLike[str] | None,
    ) -> _Draining:
        given = {"ssl_certfile": certificate, "ssl_keyfile": key}
        tls: dict[str, Any] = {
            name: _file(path) for name, path in given.items() if path is not None
        }
        settings = self.service.settings
        if settings.folder is not None:
            check_folder(settings.folder)
        know_hosts(self.app, settings.hosts_at(host))
        config = uvicorn.Config(
            self.app,
            http=asking_clients(settings.deadline),
            ws=reading_clients(settings.deadline),
            ws_max_size=settings.max_message,
            ws_per_message_deflate=False,
            limit_concurrency=2 * settings.max_connections + 16,
            timeout_graceful_shutdown=5,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # Or any program of this machine could make up the address in the log.
            proxy_headers=False,
            **tls,
        )
        return _Draining(config, self.service)


class _Draining(uvicorn.Server):
    """Ends the requests that are under way before it closes their connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._shall_drain = threading.Event()
        self._wake: Callable[[], Any] = lambda: None

    def drain(self) -> None:
        """Ends, in good order; any thread may say so."""
        self._shall_drain.set()
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._wake()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Signals that uvicorn knows of are raised again at the end, and the exit code
        # would not be 0.
        if self._shall_drain.is_set():
            self.should_exit = self.force_exit = True
            self._service.stop_at_once()
        self.drain()

    async def main_loop(self) -> None:
        woken, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = functools.partial(loop.call_soon_threadsafe, woken.set)
        if self._shall_drain.is_set():  # before there was anybody to wake
            woken.set()
        parts = [asyncio.create_task(super().main_loop())]
        parts.append(asyncio.create_task(self._drained(woken)))
        done, left = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in left:
            part.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for part in done:  # raises what ended it
            part.result()

    async def _drained(self, woken: asyncio.Event) -> None:
        await woken.wait()
        await self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        failed = self._service.failure is not None
        return failed or await super().on_tick(counter)


def _file(given: str | os.PathLike[str]) -> Path:
    path = as_path(given)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def _url(at: socket.socket, secure: bool) -> str:
    host, port, *_ = at.getsockname()
    host = f"[{host}]" if ":" in host else host
    return f"{'wss' if secure else 'ws'}://{host}:{port}"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    at = socket.socket(family, socket.SOCK_STREAM)
    at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        at.bind((host, port))
        at.listen(128)
    except OSError as error:
        at.close()
        raise OSError(f"cannot listen at {host}:{port}: {error}") from error
    return at
