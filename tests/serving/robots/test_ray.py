"""Two replicas here: one is killed, the robots of the other notice nothing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.serving.robots.toy import Counting, Robot, free_port, got, until

ray = pytest.importorskip("ray", reason="needs the extra ray")
serve = pytest.importorskip("ray.serve")

from jax_stepcache.serving.robots.on_ray import ray_application  # noqa: E402

ROOT = Path(__file__).parents[3]


def load():
    """A policy that says which process it is in."""
    return Counting(metadata={"pid": os.getpid()})


@pytest.fixture
def url():
    port = free_port()
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(ray_application(load, replicas=2), name="robots", route_prefix="/")
    yield f"ws://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def _ready(url):
    try:
        return got(url, "/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_replica_is_killed(url):
    """The lost robots get a clean error, reconnect, and go on in a new session."""
    from websockets.exceptions import ConnectionClosed

    until(lambda: _ready(url))
    robots = [Robot(url) for _ in range(8)]
    homes = [robot.metadata["pid"] for robot in robots]
    assert len(set(homes)) == 2
    for turn in range(3):
        for robot in robots:
            assert robot.ask(x=1.0)["actions"][0, 0] == turn + 1
    os.kill(homes[0], signal.SIGKILL)
    lost = [
        robot for robot, home in zip(robots, homes, strict=True) if home == homes[0]
    ]
    for robot in lost:
        with pytest.raises(ConnectionClosed):
            robot.ask(x=1.0)
    for robot in robots:
        if robot not in lost:
            assert robot.ask(x=1.0)["actions"][0, 0] == 4
    for _ in lost:
        with Robot(url) as again:
            until(lambda one=again: "actions" in one.ask(x=1.0))
            assert again.ask(x=1.0)["actions"][0, 0] == 2
    for robot in robots:
        if robot not in lost:
            assert robot.ask(x=1.0)["actions"][0, 0] == 5
