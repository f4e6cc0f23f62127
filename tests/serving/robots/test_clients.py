"""Clients that do not wait, do not read, or come under another name."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading

import numpy as np
import pytest

from jax_stepcache.serving import ServerSettings
from jax_stepcache.serving.robots.asked import asked
from jax_stepcache.serving.robots.kinds import Kinds
from jax_stepcache.serving.robots.metrics import Metrics
from jax_stepcache.serving.robots.policy import Reply
from jax_stepcache.serving.robots.sessions import Held, Sessions
from jax_stepcache.serving.robots.waiting import Ticket
from jax_stepcache.serving.robots.wire import pack
from jax_stepcache.serving.robots.worker import Worker
from tests.serving.robots.toy import (
    Counting,
    Robot,
    memory,
    port_of,
    raw,
    serving,
    until,
)

GROWTH = 40 * 2**20


def test_whoever_has_sent_ahead_and_gone_is_noticed():
    """Its frames that wait do not hide that it waits for no answer."""
    policy = Counting()
    with serving(policy) as (server, url):
        robot = Robot(url)
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        for _ in range(5):
            robot.send(x=1.0)
        robot.socket.close_socket()
        until(lambda: server.service.connections == 0)
        policy.hold.set()
        until(server.service.worker.idle)
        assert policy.batches[-1:] == [1]
        assert len(server.service.sessions) == 0


def test_frames_sent_ahead_are_answered_in_order_and_bounded():
    """A few are; whoever sends on and on without a reply is hung up on."""
    from websockets.exceptions import ConnectionClosed

    policy = Counting()
    with serving(policy) as (server, url), Robot(url) as robot, Robot(url) as other:
        for _ in range(20):
            robot.send(x=1.0)
        counts = [robot.hear()["actions"][0, 0] for _ in range(20)]
        assert counts == list(range(1, 21))
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        for _ in range(40):
            robot.send(x=1.0)
        with pytest.raises(ConnectionClosed) as closed:
            robot.hear()
        assert closed.value.rcvd.code == 1008
        policy.hold.set()
        assert other.ask(x=1.0)["actions"][0, 0] == 1
        assert server.service.connections == 1


def test_bytes_sent_ahead_are_bounded():
    """One message of the most bytes may wait, and no second one."""
    from websockets.exceptions import ConnectionClosed

    policy = Counting()
    with serving(policy, max_message=100_000) as (_, url), Robot(url) as robot:
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        robot.send(x=1.0, much=b"0" * 90_000)
        robot.send(x=1.0, much=b"0" * 90_000)
        with pytest.raises(ConnectionClosed) as closed:
            robot.hear()
        assert closed.value.rcvd.code == 1008
        policy.hold.set()


class Wordy(Counting):
    """Its replies are larger than what a socket takes at once."""

    def step_many(self, sessions, messages, options):
        replies = super().step_many(sessions, messages, options)
        return [
            reply._replace(actions=np.resize(reply.actions, (300_000, 2)))
            if "much" in message
            else reply
            for reply, message in zip(replies, messages, strict=True)
        ]


def _deaf(url):
    """A client that asks and reads nothing."""
    at = raw(url)
    frame = pack({"x": 1.0, "much": True})
    at.sendall((b"\x82" + bytes([0x80 | len(frame)]) + b"\0\0\0\0" + frame) * 4)
    return at


@pytest.mark.slow
def test_clients_that_do_not_read_cost_a_while_and_no_more():
    """Their connections are cut, what was to be sent is given back, and every other
    robot is served all the while."""
    with serving(Wordy(), deadline=3.0, max_connections=20) as (server, url):
        stop, count = threading.Event(), []

        def beside():
            with Robot(url) as robot:
                while not stop.is_set():
                    count.append(int(robot.ask(x=1.0)["actions"][0, 0]))

        thread = threading.Thread(target=beside, daemon=True)
        thread.start()
        before = 0
        for turn in range(5):
            deaf = [_deaf(url) for _ in range(8)]
            until(lambda: server.service.connections > 1)
            until(lambda: server.service.connections == 1)
            # By the server: nobody here has closed them.
            assert all(one.fileno() >= 0 for one in deaf)
            for one in deaf:
                one.close()
            if turn == 2:  # with all that is made once
                before = memory()
        assert memory() - before < GROWTH
        stop.set()
        thread.join(60)
        assert count == list(range(1, len(count) + 1))
        assert len(count) > 50
        until(lambda: server.service.connections == 0)
        assert len(server.service.sessions) == 0


def test_a_draining_server_does_not_wait_for_whoever_does_not_read():
    """Its connection is cut at the end."""
    with serving(Wordy(), drain=0.1) as (server, url):
        deaf = _deaf(url)
        until(lambda: server.service.metrics.latencies)
    assert deaf.recv(1)  # what is in the buffers, and then no more
    deaf.close()


def _status(url, host, **headers):
    """What a page gets that calls the server by a name."""
    at = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=20)
    at.request("GET", "/status", headers={"Host": host, **headers})
    status = at.getresponse().status
    at.close()
    return status


def test_a_page_whose_name_leads_here_gets_nothing():
    """DNS rebinding: its origin and its host are alike, and neither is ours."""
    evil = "evil.example"
    with serving() as (_, url):
        port = port_of(url)
        assert _status(url, f"{evil}:{port}") == 400
        for host in ("127.0.0.1", f"localhost:{port}", f"[::1]:{port}"):
            assert _status(url, host) == 200
        with pytest.raises(AssertionError, match="400"):
            raw(url, host=evil, origin=f"http://{evil}")
        raw(url, host=f"localhost:{port}", origin=f"http://localhost:{port}").close()
    with serving(token="open sesame") as (_, url):
        assert _status(url, evil, Authorization="Bearer open sesame") == 200
    with serving(hosts=["127.0.0.1", "*.lab.org"]) as (_, url):
        hosts = ("127.0.0.1:1", "a.lab.org", evil, "localhost")
        assert [_status(url, host) for host in hosts] == [200, 200, 400, 400]


def test_where_others_reach_it_any_name_will_do():
    """Nobody knows what they call it; a token keeps pages out."""
    settings = ServerSettings()
    assert settings.hosts_at("0.0.0.0") == ("*",)
    # Any address of this machine alone is a name of it.
    assert "127.0.0.2" in settings.hosts_at("127.0.0.2")
    assert "127.0.0.2" not in settings.hosts_at("127.0.0.1")
    assert settings.hosts_at("127.0.0.1") == settings.hosts_at("::1")
    assert settings.hosts_at("localhost") == ("127.0.0.1", "localhost", "[::1]")
    with pytest.raises(ValueError, match=r"hosts has 'robot\.local:8000'"):
        ServerSettings(hosts=["robot.local:8000"])
    with pytest.raises(ValueError, match="give a list"):
        ServerSettings(hosts="robot.local")


def _pictures(count, *shape):
    return [np.zeros((*shape, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (np.zeros((5, 2, 2, 3)), "'seen' has 5 frames; at most 4"),
        (np.zeros((1, 5, 2, 2, 3)), "'seen' has 5 frames; at most 4"),
        (_pictures(5, 2, 2), "'seen' has 5 frames; at most 4"),
        ({"left": _pictures(3, 2, 2), "right": np.zeros((2, 2, 2, 3))}, "has 5 frames"),
        (np.zeros((2, 9, 9, 3)), "'seen' has pictures of 9 x 9; at most 80 pixels"),
        ([{"deep": np.zeros((1, 100, 3))}], "'seen' has pictures of 1 x 100"),
    ],
)
def test_pictures_are_counted_and_measured_wherever_they_are(seen, words):
    """In arrays of any rank, in lists and maps; the message is told by its key."""
    settings = ServerSettings(max_frames=4, max_pixels=80)
    with pytest.raises(ValueError, match=words):
        asked({"seen": seen}, settings, {})
    asked({"seen": _pictures(4, 8, 10), "state": np.zeros((99, 99))}, settings, {})


def test_kinds_of_pictures_are_bounded():
    """Those of the policy's own are always taken, and so many others."""
    kinds = Kinds(2)
    kinds.prepare("own")
    for kind in ("a", "own", None, "b", "a"):
        kinds.admit(kind)
    with pytest.raises(ValueError, match=r"are of c.*no more kinds.*a; b; own"):
        kinds.admit("c")
    kinds.admit("a")


def test_a_kind_that_nobody_sends_makes_room():
    """After an hour, so that nobody keeps others out until a restart; none that is
    sent all the while."""
    now = [0.0]
    kinds = Kinds(2, lambda: now[0])
    kinds.admit("a")
    kinds.admit("b")
    now[0] = 3000.0
    kinds.admit("a")
    now[0] = 3599.0
    with pytest.raises(ValueError, match="no more kinds"):
        kinds.admit("c")
    now[0] = 3600.0
    kinds.admit("c")
    with pytest.raises(ValueError, match="no more kinds"):
        kinds.admit("b")
    kinds.admit("a")


def test_a_kind_too_many_is_a_bad_request():
    """And keeps no robot waiting for a compiler; the session goes on."""

    class Sized(Counting):
        def check(self, session, message, options):
            super().check(session, message, options)
            return f"{message.get('size', 0)} pixels"

    with serving(Sized(), max_kinds=1) as (_, url), Robot(url) as robot:
        assert "actions" in robot.ask(x=1.0)
        assert "actions" in robot.ask(x=1.0, size=2)
        told = robot.ask(x=1.0, size=3)
        assert told["error"] == "bad_request"
        assert "3 pixels" in told["message"]
        assert robot.ask(x=1.0, size=2)["actions"][0, 0] == 3


@pytest.mark.parametrize("why", ["late", "gone"])
def test_nobody_is_stepped_in_vain_in_a_batchs_second_part(why):
    """Three go in two steps; the third one's time is up meanwhile, or it has left."""
    now, ended = [0.0], {}

    class Slow(Counting):
        def step_many(self, sessions, messages, options):
            self.batches.append(len(sessions))
            now[0] += 1.0
            reply = Reply(1, np.zeros((1, 2), np.float32), np.ones(1, bool))
            return [reply] * len(sessions)

    policy, loop = Slow(), asyncio.new_event_loop()
    worker = Worker(
        policy,
        slots=4,
        places=8,
        gather=0.0,
        kinds=Kinds(0),
        sessions=Sessions(8, 9.0, lambda: now[0], 1.0),
        metrics=Metrics(),
        deliver=lambda some, _: ended.update((one.name, what) for one, what in some),
        clock=lambda: now[0],
    )
    tickets = [
        Ticket(
            Held(name, 0, 0.0, own=False),
            {"x": 1.0},
            {},
            came=0.0,
            until=0.5 if name == "third" and why == "late" else 9.0,
            name=name,
            future=loop.create_future(),
        )
        for name in ("first", "second", "third")
    ]
    if why == "gone":
        tickets[2].future.cancel()
    worker._step(tickets)
    loop.close()
    assert policy.batches == [2]
    assert ended["first"].together == ended["second"].together == 2
    told = [one for name, one in ended.items() if name == "third"]
    assert [one.kind for one in told] == (["deadline"] if why == "late" else [])
    # As where a robot's own clock finds out first.
    assert all(one.retry_after > 0 for one in told)


def test_a_connection_that_is_cut_frees_what_it_has_sent():
    """Also of one that never got as far as a message."""
    with serving() as (server, url):
        at = raw(url)
        until(lambda: server.service.connections == 1)
        at.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        at.close()
        until(lambda: server.service.connections == 0)
