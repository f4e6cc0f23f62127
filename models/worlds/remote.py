"""A policy behind a websocket, asked by the published openpi client."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jax_stepcache.serving.robots.policy import Reply

_MISSING = (
    "robots ask a server by openpi's client: pip install --no-deps openpi-client, and "
    "pip install 'jax-stepcache[robot]' for what it needs (it asks for an older NumPy, "
    "and works with later ones)"
)
_AGAIN = 1.0  # seconds, until a server that compiles is looked at again
_PATIENCE = 30.0  # seconds, for an answer whether it is ready


class RemotePolicy:
    """See `jax_stepcache.serving.robots.policy.Policy`, as far as robots need it.

    Each robot has a connection of its own, and each episode a session, whose name is
    all that is known of it here. What was imagined stays with the server.
    """

    def __init__(self, url: str) -> None:
        """Waits until the server is ready.

        Args:
            url: ``ws://host:port``.

        Raises:
            ImportError: without openpi's client.
            ValueError: for another kind of URL.
            OSError: if there is no server, or one that says nothing.
        """
        try:
            from openpi_client.websocket_client_policy import (  # pyright: ignore[reportMissingImports]
                WebsocketClientPolicy,
            )
        except ImportError as error:
            raise ImportError(f"{_MISSING} ({error})") from error
        if not url.startswith(("ws://", "wss://")):
            raise ValueError(f"server is {url!r}; give ws://host:port")
        self._url, self._connect = url.rstrip("/"), WebsocketClientPolicy
        _wait_until_ready(self._url)
        self._robots: list[Any] = []

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server says of its policy."""
        return self._connected(1)[0].get_server_metadata()

    def open(self) -> str:
        """See `Policy.open`: a name that no other session has."""
        return uuid.uuid4().hex

    def step_many(
        self,
        sessions: Sequence[str],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`: all ask at once, and the server steps them together.

        Raises:
            OSError: if the server refuses, with what it says, or has gone.
        """
        from websockets.exceptions import WebSocketException  # openpi's client has it

        def ask(robot: Any, session: str, message: Any, own: Any) -> Reply:
            asked = {"session_id": session, "options": {**own, "stats": True}}
            try:
                told = robot.infer({**message, **asked})
            # openpi's client makes a RuntimeError of what the server refuses.
            except (RuntimeError, WebSocketException) as error:
                raise OSError(f"{self._url} does not answer: {error}") from error
            computed = np.asarray(told["stats"]["computed"], bool)
            return Reply(session, np.asarray(told["actions"], np.float32), computed)

        robots = self._connected(len(sessions))
        with ThreadPoolExecutor(len(sessions)) as threads:
            return list(threads.map(ask, robots, sessions, messages, options))

    def film(self, session: str) -> np.ndarray:
        """See `Policy.film`: a message brings no pictures."""
        del session
        return np.zeros((0, 1, 1, 3), np.uint8)

    def _connected(self, count: int) -> list[Any]:
        while len(self._robots) < count:
            self._robots.append(self._connect(self._url))
        return self._robots[:count]


def _wait_until_ready(url: str) -> None:
    """Until the server's programs are compiled."""
    while True:
        try:
            with urllib.request.urlopen(f"http{url[2:]}/readyz", timeout=_PATIENCE):
                return
        except http.client.InvalidURL as error:
            raise ValueError(f"server is {url!r}: {error}") from error
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise OSError(f"{url} answers {error}") from error
        except urllib.error.URLError as error:
            raise OSError(
                f"no server at {url}: {error.reason}; 'jax-stepcache serve' starts one"
            ) from error
        time.sleep(_AGAIN)
