"""Malformed frames: the server lives, memory is flat, every other robot is served."""

from __future__ import annotations

import random
import socket
import struct
import threading

import msgpack
import numpy as np
import pytest

from jax_stepcache.serving.robots.wire import pack
from tests.serving.robots.toy import Robot, got, memory, port_of, raw, serving, until

FRAMES, BURST = 10_000, 25
RESET = "reset successful"
MOST_GROWTH = 40 * 2**20


def _array(rng, **changed):
    held = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2]}
    held |= changed
    return {k.encode(): v for k, v in held.items() if rng.random() > 0.05}


def _nested(rng, kind):
    made = 1
    for _ in range(rng.choice([8, 9, 100, 600])):
        made = [made] if kind == "list" else {"k": made}
    return made


def _frame(rng):
    """One malformed frame, or one whose values do not fit."""
    whole = pack({"x": 1.0, "a": np.zeros((2, 3), np.float32), "s": "text"})
    kinds = [
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: whole[: rng.randrange(len(whole))],
        lambda: whole + rng.randbytes(3),
        lambda: bytes(x ^ (rng.random() < 0.05) * 255 for x in whole),
        # Sizes that are not there.
        lambda: b"\xdd" + struct.pack(">I", rng.randrange(2**32)) + b"\0" * 9,
        lambda: b"\xdf" + struct.pack(">I", 2**32 - 1),
        lambda: b"\x81\xa1x\xc6" + struct.pack(">I", 2**31) + b"\0",
        lambda: b"\xdb" + struct.pack(">I", 2**32 - 1) + b"text",
        lambda: msgpack.packb({"x": _array(rng, shape=[2**40, 2**40])}),
        lambda: msgpack.packb({"x": _array(rng, shape=[-1, rng.randrange(9)])}),
        lambda: msgpack.packb({"x": _array(rng, dtype=rng.choice("OVMm?cS"))}),
        lambda: msgpack.packb({"x": _array(rng, dtype="<U99999999")}),
        lambda: msgpack.packb({"x": _array(rng, data=rng.randbytes(7))}),
        lambda: msgpack.packb({"x": _nested(rng, "list")}),
        lambda: msgpack.packb({"x": _nested(rng, "map")}),
        lambda: msgpack.packb({"x": [{}] * rng.randrange(4000)}),
        lambda: msgpack.packb({"x": rng.choice([np.nan, np.inf, -np.inf])}),
        lambda: msgpack.packb({"x": msgpack.ExtType(rng.randrange(127), b"1" * 9)}),
        lambda: msgpack.packb({"x": 1.0, "session_id": rng.choice([[], {}, 0.5, ""])}),
        lambda: msgpack.packb(
            {"x": 1.0, "options": rng.choice([[], 1, {"deadline": 0}])}
        ),
        lambda: msgpack.packb(
            {"x": 1.0, "endpoint": rng.choice([1, None, "drop", []])}
        ),
        lambda: msgpack.packb({b"x": 1.0}),
        lambda: msgpack.packb(rng.choice([None, 1, "x", [1, 2]])),
        lambda: b"",
    ]
    return rng.choice(kinds)()


def _served(url, stop, count):
    """Another robot, whose actions must come all the while."""
    with Robot(url) as robot:
        while not stop.is_set():
            count.append(int(robot.ask(x=1.0)["actions"][0, 0]))


@pytest.mark.slow
def test_malformed_frames_hurt_nobody():
    """10,000 of them over connections that go on: each is answered, and the robot
    beside them gets each of its replies in order."""
    rng, stop, count = random.Random(0), threading.Event(), []
    with serving(max_sessions=8, capacity=64) as (server, url):
        beside = threading.Thread(target=_served, args=(url, stop, count), daemon=True)
        beside.start()
        robots, before, replies = [Robot(url) for _ in range(4)], 0, 0
        for number in range(0, FRAMES, BURST):
            if number == FRAMES // 10:
                before = memory()  # with all that is made once
            robot = robots[number // BURST % len(robots)]
            for _ in range(BURST):
                robot.send_raw(_frame(rng))
            for _ in range(BURST):
                said = robot.hear()
                replies += 1
                assert "error" in said or "actions" in said or said == RESET
                assert not isinstance(said, dict) or said.get("error") != "internal"
        assert replies == FRAMES
        assert memory() - before < MOST_GROWTH
        for robot in robots:
            assert "actions" in robot.ask(x=1.0, session_id="after")
            robot.close()
        stop.set()
        beside.join(300)
        assert count == list(range(1, len(count) + 1))
        assert len(count) > 100
        assert server.service.worker.idle()


@pytest.mark.slow
def test_half_frames_and_slow_writers_keep_nobody_waiting():
    """A frame that never ends, one that comes byte by byte, a header of a huge one,
    frames without a mask, a handshake that stops: the others are served."""
    rng = random.Random(1)
    with serving(max_connections=40) as (server, url):
        broken = []
        for kind in range(30):
            at = (
                raw(url)
                if kind % 5
                else socket.create_connection(("127.0.0.1", port_of(url)))
            )
            broken.append(at)
            at.sendall(
                (
                    b"GET / HTTP/1.1\r\nHost: x\r\n",
                    b"\x82\xfe\x10\x00" + b"mask" + rng.randbytes(100),
                    b"\x82\xff" + struct.pack(">Q", 2**62) + b"mask",
                    b"\x82\x05abcde",
                    b"\x02\x85mask12345" + b"\x00\x80mask" * 200,
                )[kind % 5]
            )
        slow = raw(url)
        with Robot(url) as robot:
            frame = pack({"x": 1.0})
            whole = b"\x82" + bytes([0x80 | len(frame)]) + b"\0\0\0\0" + frame
            for i, byte in enumerate(whole):
                slow.sendall(bytes([byte]))
                assert robot.ask(x=1.0)["actions"][0, 0] == i + 1
            heard = b""
            while b"actions" not in heard:
                heard += slow.recv(4096)
            for at in [*broken, slow]:
                at.close()
            until(lambda: server.service.connections == 1)
            assert "actions" in robot.ask(x=1.0)
        assert got(url, "/healthz")[0] == 200
