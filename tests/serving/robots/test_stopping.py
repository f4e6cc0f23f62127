"""A server that shall stop loses no request, and keeps its sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serving.robots.toy import (
    Counting,
    Robot,
    answers,
    free_port,
    got,
    serving,
    until,
    until_ready,
)

PROGRAM = """
import sys
from jax_stepcache.serving import policy_server
from jax_stepcache.serving.robots.logs import log_to_stderr
from tests.serving.robots.toy import Counting
log_to_stderr()
SERVER.run(port=int(sys.argv[1]))
"""


def test_requests_under_way_end_and_new_ones_are_refused():
    """Each gets its answer or one error; then the connections are closed."""
    from websockets.exceptions import InvalidStatus

    policy = Counting()
    with serving(policy) as (server, url), Robot(url) as a, Robot(url) as b:
        b.ask(x=1.0)
        a.send(x=1.0, do="wait")
        assert policy.held.wait(300)
        service = server.service
        service.draining = True
        assert b.ask(x=1.0)["error"] == "draining"
        assert got(url, "/readyz") == (503, b"stopping\n")
        assert got(url, "/healthz")[0] == 200
        with pytest.raises(InvalidStatus, match="503"):
            Robot(url)
        policy.hold.set()
        assert a.hear()["actions"][0, 0] == 1


def test_sessions_are_there_again_after_a_restart(tmp_path):
    """Those with an id; of one that is damaged the log tells, and the others come."""
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        for name in ("a/../b", "ä", "a/../b"):
            robot.ask(x=1.0, session_id=name)
        robot.ask(x=1.0)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 2
    assert all(folder.parent == tmp_path for folder in folders)
    broken = next(f for f in folders if json.loads((f / "count.json").read_text()) == 1)
    (broken / "count.json").write_text("{")
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        (held,) = json.loads(got(url, "/status")[1])["sessions"]
        assert (held["steps"], held["calls"], held["skipped"]) == (2, 4, 4)
        assert robot.ask(x=1.0, session_id="a/../b")["actions"][0, 0] == 3
        assert robot.ask(x=1.0, session_id="ä")["actions"][0, 0] == 1


def test_no_more_sessions_are_restored_than_there_may_be(tmp_path):
    """A server that is started with less room does not begin beyond it."""
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        for name in "abc":
            robot.ask(x=1.0, session_id=name)
    with serving(sessions=tmp_path, max_sessions=2) as (server, _):
        assert len(server.service.sessions) == 2


@pytest.mark.parametrize("error", [RuntimeError("no memory"), ValueError("of another")])
def test_a_session_that_cannot_be_restored_is_there_for_another_try(tmp_path, error):
    """It is left where it is at the end, and the others are served; what was restored
    and is forgotten goes."""

    class Picky(Counting):
        def load(self, folder):
            count = super().load(folder)
            if count == 2:
                raise error
            return count

    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        for name in ("a", "b", "b"):
            robot.ask(x=1.0, session_id=name)
    with serving(Picky(), sessions=tmp_path) as (server, url), Robot(url) as robot:
        (held,) = server.service.sessions
        assert robot.ask(x=1.0, session_id="a")["actions"][0, 0] == 2
        server.service.sessions.drop(held)
    with serving(sessions=tmp_path) as (server, url), Robot(url) as robot:
        assert [held.name for held in server.service.sessions] == ["b"]
        assert robot.ask(x=1.0, session_id="b")["actions"][0, 0] == 3


def test_a_session_that_cannot_be_restored_is_kept_beside_a_new_one(tmp_path):
    """Its robot comes back meanwhile; another version of the policy reads the old."""

    class Other(Counting):
        def load(self, folder):
            raise ValueError("of another version")

    def counts():
        return sorted(json.loads(f.read_text()) for f in tmp_path.rglob("count.json"))

    for policy, steps, wanted in (
        (Counting(), 5, [5]),
        (Other(), 1, [1, 5]),
        (Other(), 2, [1, 2, 5]),
        (Counting(), 1, [1, 3, 5]),  # this one goes on with the two steps
    ):
        with serving(policy, sessions=tmp_path) as (_, url), Robot(url) as robot:
            for _ in range(steps):
                robot.ask(x=1.0, session_id="a")
        assert counts() == wanted


def test_one_session_that_cannot_be_saved_costs_no_other(tmp_path):
    """The log tells which; what is left of it is no session."""

    class Picky(Counting):
        def save(self, folder, session):
            super().save(folder, session)
            if session == 2:
                raise OSError("no space")

    with serving(Picky(), sessions=tmp_path) as (_, url), Robot(url) as robot:
        for name in ("a", "b", "b", "c"):
            robot.ask(x=1.0, session_id=name)
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        counts = [robot.ask(x=1.0, session_id=n)["actions"][0, 0] for n in "abc"]
    assert counts == [2, 1, 2]


def test_draining_takes_no_longer_than_it_may():
    """Once for the signal and once at the end are one time together."""
    from jax_stepcache.serving import ServerSettings
    from jax_stepcache.serving.robots.service import Service

    service = Service(Counting(), ServerSettings(drain=0.5))
    service.answering = 1  # never

    async def drain_twice():
        await service.drain()
        begun = time.monotonic()
        await service.drain()
        return time.monotonic() - begun

    assert asyncio.run(drain_twice()) < 0.25


def test_a_step_that_takes_longer_than_there_is_keeps_no_server(tmp_path, caplog):
    """Neither itself nor the sessions that cannot be saved meanwhile are waited for."""
    policy = Counting()
    settings = {"drain": 0.1, "sessions": tmp_path}
    with serving(policy, **settings) as (server, url), Robot(url) as robot:
        robot.send(x=1.0, session_id="arm", do="wait")
        assert policy.held.wait(300)
        begun = time.monotonic()
    took = time.monotonic() - begun
    policy.hold.set()
    assert took < 10
    assert "no session saved" in caplog.text
    assert server.service.unsaved is not None  # the exit status tells
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_second_signal_does_not_wait():
    """The step goes on for minutes; nobody needs to kill the server."""
    with _process("policy_server(Counting(), drain=300)") as (process, url):
        with Robot(url) as robot:
            robot.send(x=1.0, do="wait")
            until(lambda: b"robots_slots_in_use 1.0" in got(url, "/metrics")[1])
            process.send_signal(signal.SIGTERM)
            until(lambda: got(url, "/readyz")[0] == 503)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(100)
        assert time.monotonic() - begun < 20
        assert process.returncode == 0


@pytest.mark.slow
def test_a_server_that_never_was_ready_leaves_saved_sessions_alone(tmp_path):
    """Stopped while it compiles, it has restored none, and must not save none."""
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        robot.ask(x=1.0, session_id="a")

    class Broken(Counting):
        def examples(self, robots):
            raise RuntimeError("no memory")

    from jax_stepcache.serving import policy_server

    server = policy_server(Broken(), sessions=tmp_path)
    with pytest.raises(RuntimeError, match="cannot be served"):
        server.run(port=0)
    with serving(sessions=tmp_path) as (_, url), Robot(url) as robot:
        assert robot.ask(x=1.0, session_id="a")["actions"][0, 0] == 2


@pytest.mark.slow
def test_sigterm_drains_and_ends_with_0():
    """As a process under a supervisor: the reply first, then the end."""
    made = "policy_server(Counting(seconds=0.5), drain=20)"
    with _process(made) as (process, url):
        with Robot(url) as robot:
            robot.send(x=1.0)
            until(lambda: b"robots_slots_in_use 1.0" in got(url, "/metrics")[1])
            process.send_signal(signal.SIGTERM)
            assert robot.hear()["actions"][0, 0] == 1
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "Traceback" not in said
    lines = [json.loads(line) for line in said.splitlines()]
    assert "answered" in [line["message"] for line in lines]


@contextlib.contextmanager
def _process(made):
    """A server in a process of its own, ready; gives itself and its URL."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("SERVER", made), str(port)],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: answers(url))
        until_ready(url)
        yield process, url
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls(tmp_path):
    """wss:// and https:// with files; a client that does not know the certificate
    does not connect."""
    from jax_stepcache.serving import policy_server

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = policy_server(Counting())
    with server.background(certificate=certificate, key=key) as url:
        assert url.startswith("wss://")
        until(lambda: server.service.ready)
        known = ssl.create_default_context(cafile=str(certificate))
        with Robot(url, {"ssl": known}) as robot:
            assert robot.ask(x=1.0)["actions"][0, 0] == 1
        with pytest.raises(ssl.SSLError):
            Robot(url)


def test_a_port_that_is_taken_is_told():
    """In the words of the address, before anything is compiled."""
    from jax_stepcache.serving import policy_server

    with serving() as (_, url):
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"):
            policy_server(Counting()).run(port=port)
