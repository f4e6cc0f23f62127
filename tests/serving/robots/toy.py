"""A policy without a network: it counts, and says what it was asked together with."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jax_stepcache.serving.robots.policy import Reply

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

import msgpack

from jax_stepcache.serving import policy_server


@dataclass
class Counting:
    """Its sessions are step counts; ``actions[:, 0]`` is the count, row by row.

    A message has ``x``, a number that comes back in ``actions[:, 1]``. What it is told
    under ``do`` it does: ``fail``, ``refuse`` late, ``overflow``, or wait for ``hold``.
    """

    metadata: dict[str, Any] = field(default_factory=lambda: {"policy": "counting"})
    options: dict[str, str] = field(
        default_factory=lambda: {"num_inference_steps": "1 to 9"}
    )
    message: dict[str, str] = field(
        default_factory=lambda: {"x": "a number", "do": "what is done"}
    )
    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)

    def open(self):
        return 0

    def check(self, session, message, options):
        if "x" not in message:
            raise ValueError(f"the message lacks 'x'. Got {sorted(message)}")
        if not abs(message["x"]) < 1e30:
            raise ValueError(f"'x' is {message['x']}; it must be finite")
        steps = options.get("num_inference_steps", 4)
        if not 1 <= steps <= 9:
            raise ValueError(f"num_inference_steps is {steps}")

    def step_many(self, sessions, messages, options):
        assert threading.current_thread().name == "jax-stepcache-robots"
        does = [message.get("do") for message in messages]
        if "refuse" in does:
            raise ValueError("'do' is refused late")
        self.batches.append(len(sessions))
        if "fail" in does:
            raise RuntimeError("a secret path: /home/somebody")
        if "wait" in does:
            self.held.set()
            assert self.hold.wait(300)
        time.sleep(self.seconds)
        values = [np.inf if "overflow" in does else m["x"] for m in messages]
        return [
            Reply(
                session + 1,
                np.stack([np.full(3, session + 1), np.full(3, value)], -1).astype(
                    np.float32
                ),
                np.arange(own.get("num_inference_steps", 4)) % 2 == 0,
            )
            for session, value, own in zip(sessions, values, options, strict=True)
        ]

    def reset(self, session):
        return 0

    def film(self, session):
        return np.full((2, 4, 6, 3), session, np.uint8)

    def save(self, folder, session):
        (folder / "count.json").write_text(json.dumps(session))

    def load(self, folder):
        return json.loads((folder / "count.json").read_text())

    def examples(self, robots):
        return [[{"x": float(step)}] * robots for step in range(2)]


@contextlib.contextmanager
def serving(policy=None, **settings):
    """A server that is ready; gives itself and its URL."""
    # Machines differ in speed; all limits here are for what would hang.
    settings = {"deadline": 300.0, **settings}
    server = policy_server(Counting() if policy is None else policy, **settings)
    with server.background() as url:
        until_ready(url)
        yield server, url


def until_ready(url, seconds=300):
    """Waits until programs are compiled."""
    until = time.monotonic() + seconds
    while got(url, "/readyz")[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.01)


def got(url, path, **headers):
    """Status and body of a page."""
    request = urllib.request.Request(
        url.replace("ws", "http", 1) + path, headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def answers(url):
    """Whether there is a server already."""
    try:
        return got(url, "/healthz")[0] == 200
    except OSError:
        return False


def port_of(url):
    return int(url.rpartition(":")[2])


class Robot:
    """RoboArena's client, written from its messages; or openpi's without endpoints."""

    def __init__(self, url, options=None, **headers):
        import websockets.sync.client

        options = {} if options is None else options
        self._opened = websockets.sync.client.connect(
            url, compression=None, max_size=None, additional_headers=headers, **options
        )
        self.socket = self._opened.__enter__()
        self.metadata = self._decoded(self.socket.recv(300))

    def ask(self, **message):
        """A reply: decoded, or an error's text as JSON, or other text as it is."""
        self.send(**message)
        return self.hear()

    def send(self, **message):
        # openpi's own encoding, independent of the server's.
        self.socket.send(msgpack.packb(message, default=self._encoded))

    def send_raw(self, data):
        self.socket.send(data)

    def hear(self, seconds=300):
        said = self.socket.recv(seconds)
        if isinstance(said, str):
            return json.loads(said) if said.startswith("{") else said
        return self._decoded(said)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _encoded(array):
        return {
            b"__ndarray__": True,
            b"data": array.tobytes(),
            b"dtype": array.dtype.str,
            b"shape": array.shape,
        }

    @staticmethod
    def _decoded(data):
        def hook(held):
            if b"__ndarray__" in held:
                array = np.frombuffer(held[b"data"], held[b"dtype"])
                return array.reshape(held[b"shape"])
            return held

        return msgpack.unpackb(data, object_hook=hook)


def free_port():
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        return at.getsockname()[1]


def until(true, seconds=300):
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def memory():
    """Bytes of this process, server and clients, that are in use."""
    lines = Path("/proc/self/status").read_text().splitlines()
    said = dict(line.split(":", 1) for line in lines)
    return int(said["VmRSS"].split()[0]) * 1024


def raw(url, host="127.0.0.1", origin=None):
    """A websocket whose bytes are ours."""
    at = socket.create_connection(("127.0.0.1", port_of(url)), timeout=300)
    page = "" if origin is None else f"Origin: {origin}\r\n"
    at.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}\r\n{page}Upgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    heard = at.recv(1)
    while b"\r\n\r\n" not in heard:
        heard += at.recv(1)
    status = heard.split()[1].decode()
    assert status == "101", status
    return at
