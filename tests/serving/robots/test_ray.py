"""Replicas here: killed, drained, and more where requests wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.serving.robots.toy import Counting, Robot, free_port, got, until

ray = pytest.importorskip("ray", reason="needs the extra ray")
serve = pytest.importorskip("ray.serve")

from jax_stepcache.serving.robots.on_ray import (  # noqa: E402
    drain_replicas,
    ray_application,
)

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills by signal"),
]


def load():
    """A policy that says which process it is in, and takes its time."""
    return Counting(metadata={"pid": os.getpid()}, seconds=0.05)


@pytest.fixture(scope="module")
def address():
    """Host and port of Ray's proxy."""
    port = free_port()
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def run(address):
    """Runs an application, ready for robots."""

    def started(**settings):
        application = ray_application(load, **settings)
        handle = serve.run(application, name="robots", route_prefix="/")
        until(lambda: _ready(f"ws://{address}"))
        return f"ws://{address}", handle

    yield started
    serve.delete("robots")


def _ready(url):
    try:
        return got(url, "/readyz")[0] == 200
    except OSError:
        return False


class Acting(threading.Thread):
    """A robot that asks without pause, and reconnects when its connection is closed."""

    def __init__(self, url, stop):
        super().__init__(daemon=True)
        self.url, self.stop = url, stop
        # Of each connection the replica and the counts of its session.
        self.homes, self.counts = [], []

    def run(self):
        from websockets.exceptions import ConnectionClosed

        while not self.stop.is_set():
            try:
                with Robot(self.url) as robot:
                    self.homes.append(robot.metadata["pid"])
                    self.counts.append([])
                    while not self.stop.is_set():
                        said = robot.ask(x=1.0)
                        if "actions" in said:
                            self.counts[-1].append(int(said["actions"][0, 0]))
                        else:
                            assert said["error"] == "overloaded"  # it compiles
                            time.sleep(0.05)
            except ConnectionClosed:
                continue


def _consecutive(counts):
    return counts == list(range(1, len(counts) + 1))


def test_a_replica_is_killed_while_it_is_asked(run):
    """The lost robots get a closed connection, reconnect, and go on in a new session;
    those of the other replica notice nothing."""
    (url, _), stop = run(replicas=2), threading.Event()
    robots = [Acting(url, stop) for _ in range(8)]
    for robot in robots:
        robot.start()
    until(lambda: all(robot.counts and len(robot.counts[0]) > 5 for robot in robots))
    before = [robot.homes[0] for robot in robots]
    assert len(set(before)) == 2
    os.kill(before[0], signal.SIGKILL)
    lost = [robot for robot in robots if robot.homes[0] == before[0]]
    until(lambda: all(len(robot.counts) > 1 for robot in lost))
    until(lambda: all(len(robot.counts[-1]) > 5 for robot in lost))
    stop.set()
    for robot in robots:
        robot.join(60)
        assert all(map(_consecutive, robot.counts))
        assert len(robot.counts) == (2 if robot in lost else 1)


def test_replicas_that_shall_stop_drain(run):
    """Requests under way are answered, and then connections are closed."""
    from websockets.exceptions import ConnectionClosed

    url, handle = run(replicas=2, drain=20)
    robots = [Robot(url) for _ in range(4)]
    assert all("actions" in robot.ask(x=1.0) for robot in robots)
    for robot in robots:
        robot.send(x=1.0)
    drain_replicas(handle, 20)
    for robot in robots:
        assert robot.hear()["actions"][0, 0] == 2
        with pytest.raises(ConnectionClosed) as closed:
            robot.hear()
        assert closed.value.rcvd.code == 1012


def test_there_are_more_replicas_where_requests_wait(run):
    """By the queue, not by connections: those that ask for nothing start none."""
    soon = {
        "upscale_delay_s": 0.5,
        "look_back_period_s": 2.0,
        "metrics_interval_s": 0.5,
    }
    url, _ = run(replicas=1, most_replicas=2, scaling=soon, slots=2)

    def running():
        deployment = serve.status().applications["robots"].deployments["robots"]
        return deployment.replica_states.get("RUNNING", 0)

    idle = [Robot(url) for _ in range(8)]
    until_later = time.monotonic() + 5
    until(lambda: running() == 1 and time.monotonic() > until_later)
    stop = threading.Event()
    robots = [Acting(url, stop) for _ in range(8)]
    for robot in robots:
        robot.start()
    until(lambda: running() == 2)
    stop.set()
    for robot in robots:
        robot.join(60)
    for robot in idle:
        robot.close()


def test_the_command_serves_by_replicas_and_drains(tmp_path):
    """SIGTERM: the robot has its answer, and the exit status is 0."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jax_stepcache", "serve", "--params", "tabletop"]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--replicas", "1", "--slots", "1", "--port", str(port)],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: process.poll() is not None or _ready(url))
            with Robot(url) as robot:
                told = robot.ask(x=1.0)
                assert told["error"] == "bad_request"
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == 0, log.seek(0) or log.read()
        finally:
            process.kill()
