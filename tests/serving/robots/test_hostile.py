"""Clients that send what costs more than it weighs, or that never end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest

from jax_stepcache.serving import policy_server
from jax_stepcache.serving.robots.admission import is_same_site
from jax_stepcache.serving.robots.connection import Conversation
from tests.serving.robots.toy import (
    Counting,
    Robot,
    got,
    port_of,
    raw,
    serving,
    until,
)


def test_text_sent_ahead_is_bounded_as_bytes_are():
    """It is refused when its turn comes, and takes memory until then."""
    from websockets.exceptions import ConnectionClosed

    policy = Counting()
    with serving(policy, max_message=100_000) as (_, url), Robot(url) as robot:
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        for _ in range(2):
            robot.send_raw("0" * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            robot.hear(20)
        assert closed.value.rcvd.code == 1008
        policy.hold.set()


def test_a_frame_that_is_too_large_is_told_while_it_is_still_sent():
    """By its close code: a client that is cut off in the middle hears no reason. Of a
    claim that is larger still no more is read than a few times the limit."""
    from websockets.exceptions import ConnectionClosed

    with serving(max_message=2**22) as (server, url):
        with Robot(url) as bad:
            bad.send_raw(b"0" * 2**24)
            with pytest.raises(ConnectionClosed) as closed:
                bad.hear()
            assert closed.value.rcvd.code == 1009
        with raw(url) as at:
            at.settimeout(20)
            at.sendall(b"\x82\xff" + (2**40).to_bytes(8, "big") + b"mask")
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                at.sendall(b"0" * 2**26)
        until(lambda: server.service.connections == 0)


def test_a_message_has_few_fragments():
    """Empty ones weigh nothing, and each takes its place in memory."""
    with serving() as (_, url), raw(url) as at:
        at.settimeout(20)
        at.sendall(b"\x02\x80mask" + b"\x00\x80mask" * 2000)
        heard = b""
        while part := at.recv(4096):
            heard += part
        assert b"\x88" in heard
        assert heard[heard.rindex(b"\x88") + 2 :][:2] == (1009).to_bytes(2, "big")
        with Robot(url) as robot:
            assert robot.ask(x=1.0)["actions"][0, 0] == 1


def test_a_message_in_fragments_has_a_deadline():
    """However alive its sender is; one that is whole in time is answered."""
    with serving(deadline=1.5) as (server, url), raw(url) as at:
        until(lambda: server.service.connections == 1)
        frame = msgpack.packb({"x": 1.0})
        at.sendall(b"\x02\x80mask")
        time.sleep(0.2)
        at.sendall(b"\x80" + bytes([0x80 | len(frame)]) + b"\0\0\0\0" + frame)
        heard = b""
        while b"actions" not in heard:
            heard += at.recv(4096)
        time.sleep(1.5)  # longer than is left of that one's time
        at.sendall(b"\x02\x80mask")
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while server.service.connections:
                at.sendall(b"\x00\x80mask\x8a\x80mask")
                assert time.monotonic() - begun < 20
                time.sleep(0.05)
        until(lambda: server.service.connections == 0)
        assert time.monotonic() - begun > 1.0


def test_a_deadline_counts_from_when_the_frame_came():
    """Not from when the reply to the frame before it was sent."""
    policy = Counting()
    with serving(policy) as (_, url), Robot(url) as robot:
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        robot.send(x=1.0, options={"deadline": 0.05})
        with pytest.raises(TimeoutError):
            robot.hear(0.2)
        policy.hold.set()
        assert robot.hear()["actions"][0, 0] == 1
        assert robot.hear()["error"] == "deadline"


def test_an_origin_that_is_none_is_another_site():
    """And no error of the server's."""
    page = SimpleNamespace(headers={"origin": "http://[", "host": "127.0.0.1"})
    assert not is_same_site(page)  # pyright: ignore[reportArgumentType]


def test_a_reply_on_its_way_when_the_connection_is_closed_is_no_error():
    """The socket refuses it then, for we have closed it ourselves."""

    class Closed:
        async def send_bytes(self, _):
            raise RuntimeError("send once a close message has been sent")

        send_text = send_bytes

        async def close(self, *_):
            conversation._over = True

    service = policy_server(Counting()).service
    conversation = Conversation(service, Closed())  # pyright: ignore[reportArgumentType]

    async def closed_meanwhile():
        async def reply(*_):
            await conversation.close()
            return b"actions"

        conversation._reply = reply
        conversation._read = lambda _: None
        conversation._ahead.append(({}, 0.0))
        await conversation._answer()

    asyncio.run(closed_meanwhile())
    assert 'kind="internal"} 0.0' in service.metrics.text().decode()


def test_a_request_that_does_not_come_is_not_awaited():
    """Its socket is closed, whether nothing comes or a header bit by bit."""
    with serving(deadline=1.0) as (_, url):
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection(("127.0.0.1", port_of(url)), 20) as at:
                at.sendall(sent)
                begun = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    while at.recv(1):
                        pass
                assert time.monotonic() - begun < 10
        with Robot(url) as robot:  # whose handshake has come
            time.sleep(1.2)
            assert robot.ask(x=1.0)["actions"][0, 0] == 1


class Filming(Counting):
    """Its films are larger than what sockets take at once."""

    def film(self, session):
        return np.zeros((64, 512, 512, 3), np.uint8)


def test_a_film_that_nobody_reads_is_given_up():
    """And its memory with it."""
    with serving(Filming(), deadline=1.5) as (_, url), Robot(url) as robot:
        robot.ask(x=1.0, session_id="a")
        with socket.create_connection(("127.0.0.1", port_of(url)), 20) as at:
            at.sendall(b"GET /film/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            time.sleep(3.5)
            heard = 0
            with contextlib.suppress(ConnectionError):
                while part := at.recv(2**20):
                    heard += len(part)
            assert heard < 64 * 512 * 512 * 3


def test_one_film_is_made_at_a_time():
    """Robots wait for each of them."""
    policy, told = Counting(), []
    with serving(policy) as (server, url), Robot(url) as robot:
        robot.ask(x=1.0, session_id="a")
        robot.send(x=1.0, do="wait")
        assert policy.held.wait(20)
        first = threading.Thread(target=lambda: told.append(got(url, "/film/a")[0]))
        first.start()
        until(lambda: server.service.filming)
        assert got(url, "/film/a")[0] == 429
        policy.hold.set()
        first.join(20)
        assert told == [200]
        assert got(url, "/film/a")[0] == 200


def test_a_reset_that_is_given_up_leaves_nothing():
    """While a long step runs: not even the wish."""
    policy = Counting()
    with serving(policy) as (server, url), Robot(url) as first, Robot(url) as second:
        second.ask(x=1.0)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(20)
        for _ in range(3):
            second.ask(endpoint="reset", options={"deadline": 0.01})
        assert not server.service.worker._jobs
        policy.hold.set()
