"""A policy server under load: what the socket costs, and what many robots share.

Tabletop robots in a process of their own ask a server without pause: one, then 8, then
32 of them, as many control steps in each mix. Beside it `step_many` itself, called with
1 and with 8 robots in the server's process, in the same minutes: parts of each are run
in turn. The same with a policy that computes nothing is the server alone, on a machine
as busy as it is otherwise. At last a mix with faults: robots are killed while they
wait, frames are cut, robots come late; every request must end exactly once.

The server's overhead is its median latency less that of direct `step_many`, as often as
robots take turns (32 robots in eights wait for four steps). Beside it, more strictly,
what of a request lies outside the policy: what its robot waited, by its own clock, less
the step that served it, less the time until the policy was done with those who came
before, and less the wait for those who were stepped with it, until the last of them had
come. What is left is the socket, the server's decoder and encoder, checks, threads, and
the turn of 8 replies that are sent one after another, on cores that robots use as well;
some of it goes on while others are stepped. The same with that wait is beside it.

    python benchmarks/policy_server.py --json benchmarks/results/policy_server.json

``--part alone`` runs one part, and puts its rows into a file that has the others.
"""

# In a checkout pyright does not find jax_stepcache.models, which is the folder models/.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from jax_stepcache.paths import path_option
from jax_stepcache.serving.robots.policy import Reply
from jax_stepcache.serving.robots.wire import pack, unpack

SLOTS = 8
MIXES = (1, 8, 32)
PARTS = 4


def message(robot: int) -> bytes:
    """What a robot sends: two pictures, its gripper, words."""
    rng = np.random.default_rng(robot)
    return pack(
        {
            "observation/image": rng.integers(0, 256, (2, 32, 32, 3), np.uint8),
            "observation/state": rng.uniform(0, 1, 2).astype(np.float32),
            "prompt": "reach the red block",
            "options": {"stats": True},
        }
    )


async def robot(url: str, number: int, steps: int) -> list[dict[str, float]]:
    """Asks without pause; when it asked and heard, and what the server said of it."""
    asked, seen = message(number), []
    async with connect(url, compression=None, max_size=None) as socket:
        await socket.recv()
        for _ in range(steps):
            begun = time.perf_counter()
            await socket.send(asked)
            reply = await socket.recv(decode=False)
            heard = time.perf_counter()
            stats = unpack(reply)["stats"]
            seen.append(
                {
                    "asked": begun,
                    "heard": heard,
                    "queue": stats["queue_ms"] / 1e3,
                    "together": stats["together"],
                }
            )
    return seen


async def faulty(url: str, number: int, steps: int) -> dict[str, int]:
    """As `robot`, but killed, cut off or late at times; counts how requests ended."""
    rng, asked = random.Random(number), message(number)
    count = {"sent": 0, "answered": 0, "refused": 0, "left": 0}
    await asyncio.sleep(rng.random())
    while count["sent"] < steps:
        async with connect(url, compression=None, max_size=None) as socket:
            await socket.recv()
            for _ in range(rng.randrange(1, 40)):
                fault = rng.random()
                if fault < 0.02:  # a frame that is cut, in a connection that ends
                    socket.transport.write(b"\x82\xfe\x10\x00mask" + asked[:50])
                    socket.transport.abort()
                    break
                await socket.send(asked)
                count["sent"] += 1
                if fault < 0.04:  # killed while it waits
                    socket.transport.abort()
                    count["left"] += 1
                    break
                said = await socket.recv()
                count["refused" if isinstance(said, str) else "answered"] += 1
                # Whatever came twice would come now.
                try:
                    await asyncio.wait_for(socket.recv(), 0.001)
                except TimeoutError:
                    continue
                raise AssertionError("a request was answered twice")
    return count


async def clients(kind: str, url: str, robots: int, steps: int) -> list[Any]:
    """Robots side by side, which take so many steps together."""
    act = {"robot": robot, "faulty": faulty}[kind]
    each = [steps // robots + (i < steps % robots) for i in range(robots)]
    return await asyncio.gather(*[act(url, i, n) for i, n in enumerate(each)])


def in_a_process(kind: str, url: str, robots: int, steps: int) -> tuple[list, float]:
    """What robots of a process of their own have seen, and in how many seconds."""
    command = [sys.executable, __file__, "--clients", kind, url, str(robots)]
    done = subprocess.run(
        [*command, str(steps)], check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    return told["seen"], told["seconds"]


def directly(policy: Any, robots: int, rounds: int) -> list[float]:
    """Seconds of each `step_many`, called with whole messages by nobody's way."""
    asked = [unpack(message(i)) for i in range(robots)]
    for one in asked:
        del one["options"]
    sessions, seconds = [policy.open() for _ in range(robots)], []
    for _ in range(rounds):
        begun = time.perf_counter()
        replies = policy.step_many(sessions, asked, [{}] * robots)
        seconds.append(time.perf_counter() - begun)
        sessions = [reply.session for reply in replies]
    return seconds


class Steps:
    """When the policy was in a step. Processes of one machine have one clock."""

    def __init__(self, policy: Any) -> None:
        """Watches a policy from now on."""
        self.spans: list[tuple[float, float]] = []
        step_many = policy.step_many

        def timed(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return step_many(*args)
            finally:
                self.spans.append((begun, time.perf_counter()))

        policy.step_many = timed

    def outside(self, requests: list[dict[str, float]]) -> list[tuple[float, float]]:
        """Seconds of each request that are neither a step's nor the batch's.

        Args:
            requests: of `robot`, of all robots that were there at that time.

        Returns:
            Of each without and with the wait for those of its batch.
        """
        ends = [end for _, end in self.spans]
        own = [bisect.bisect_right(ends, one["heard"]) - 1 for one in requests]
        # By the server's word, which begins to count when it has read the frame.
        came = [
            self.spans[i][0] - one["queue"]
            for i, one in zip(own, requests, strict=True)
        ]
        last: dict[int, float] = {}
        for i, when in zip(own, came, strict=True):
            last[i] = max(last.get(i, 0.0), when)
        told = []
        for i, when, one in zip(own, came, requests, strict=True):
            begun, ended = self.spans[i]
            free = ends[i - 1] if i else 0.0
            rest = one["heard"] - max(one["asked"], free) - (ended - begun)
            batch = max(0.0, last[i] - max(when, free))
            told.append((rest - batch, rest))
        return told


def answers(url: str) -> int:
    """How many requests a server has answered, by its own count."""
    with urllib.request.urlopen(url.replace("ws", "http", 1) + "/metrics") as page:
        lines = page.read().decode().splitlines()
    name = "robots_request_seconds_count "
    return int(float(next(x for x in lines if x.startswith(name)).split()[1]))


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}_ms": 1e3 * float(np.quantile(seconds, q / 100)) for q in (50, 99)}


def measure(steps: int) -> dict[str, Any]:
    """All mixes; see the file's docstring.

    Args:
        steps: control steps of each mix, of all its robots together.

    Returns:
        Rows by name.
    """
    from jax_stepcache.models.tabletop import load_policy
    from jax_stepcache.serving import policy_server

    policy = load_policy("tabletop", cache_backend="step_cache")
    steps_of_it = Steps(policy)
    server = policy_server(policy, slots=SLOTS, max_sessions=128, capacity=64)
    direct: dict[int, list[float]] = {1: [], SLOTS: []}
    seen: dict[int, list[Any]] = {robots: [] for robots in MIXES}
    spent: dict[int, float] = dict.fromkeys(MIXES, 0.0)
    with server.background() as url:
        server.wait_until_ready()
        worker = server.service.worker
        for _ in range(PARTS):
            for robots in direct:
                rounds = steps // PARTS // robots
                # In the worker's thread, between its steps: nobody asks meanwhile.
                done = worker.call(lambda n=robots, r=rounds: directly(policy, n, r))
                direct[robots] += done.result()
            for robots in MIXES:
                some, seconds = in_a_process("robot", url, robots, steps // PARTS)
                seen[robots] += [request for one in some for request in one]
                spent[robots] += seconds
        before = answers(url)
        counts, _ = in_a_process("faulty", url, SLOTS, steps)
        idle, said = worker.idle(), answers(url) - before
    rows: dict[str, Any] = {}
    for robots, seconds in direct.items():
        rows[f"step_many, {robots}"] = {
            "robots": robots,
            "steps": robots * len(seconds),
            "steps_per_second": robots * len(seconds) / sum(seconds),
            **_quantiles(seconds),
        }
    for robots, requests in seen.items():
        beside = rows[f"step_many, {min(robots, SLOTS)}"]
        rate = len(requests) / spent[robots]
        waited = [request["heard"] - request["asked"] for request in requests]
        turns = -(-robots // SLOTS)
        outside = np.array(steps_of_it.outside(requests))
        alone, with_batch = map(float, np.median(outside, axis=0))
        rows[f"server, {robots}"] = {
            "robots": robots,
            "steps": len(requests),
            "steps_per_second": rate,
            **_quantiles(waited),
            "overhead_p50_ms": 1e3 * float(np.median(waited))
            - turns * beside["p50_ms"],
            "outside_p50_ms": 1e3 * alone,
            "outside_with_batch_p50_ms": 1e3 * with_batch,
            "of_step_many": rate / beside["steps_per_second"],
            "together": float(np.mean([request["together"] for request in requests])),
        }
    total = {name: sum(one[name] for one in counts) for name in counts[0]}
    # No robot has heard twice, or it would have ended the run. The server has answered
    # whoever heard, and of others at most those who went away meanwhile.
    once = total["answered"] <= said <= total["answered"] + total["left"]
    once &= total["sent"] == total["answered"] + total["refused"] + total["left"]
    rows["faults"] = {**total, "once_each": once, "idle_after": idle}
    return rows


class Nothing:
    """A policy that computes nothing; see `jax_stepcache.serving.robots.policy`."""

    metadata: Mapping[str, Any] = {}
    options: Mapping[str, str] = {}

    def open(self) -> int:
        """Its sessions are counts."""
        return 0

    def check(self, session: int, message: Any, options: Any) -> None:
        """Any message will do."""

    def step_many(self, sessions: Any, messages: Any, options: Any) -> list[Reply]:
        """As many actions as the tabletop's."""
        actions, computed = np.zeros((8, 2), np.float32), np.zeros(16, bool)
        return [Reply(session + 1, actions, computed) for session in sessions]

    def reset(self, session: int) -> int:
        """From the beginning."""
        return 0

    def film(self, session: int) -> np.ndarray:
        """None."""
        return np.zeros((0, 1, 1, 3), np.uint8)

    def save(self, folder: Path, session: int) -> None:
        """Nothing is kept."""

    def load(self, folder: Path) -> int:
        """Nothing was kept."""
        return 0

    def examples(self, robots: int) -> list[list[dict[str, Any]]]:
        """Any message will do."""
        return [[{}] * robots]


def alone(steps: int) -> dict[str, Any]:
    """What the server takes by itself.

    Args:
        steps: requests of each mix, of all its robots together.

    Returns:
        Rows by name.
    """
    from jax_stepcache.serving import policy_server

    rows = {}
    server = policy_server(Nothing(), slots=SLOTS)
    with server.background() as url:
        server.wait_until_ready()
        for robots in (1, SLOTS):
            some, seconds = in_a_process("robot", url, robots, steps)
            took = [one["heard"] - one["asked"] for each in some for one in each]
            rows[f"server alone, {robots}"] = {
                "robots": robots,
                "steps": len(took),
                "steps_per_second": len(took) / seconds,
                **_quantiles(took),
            }
    return rows


PARTS_OF_IT = {"load": measure, "alone": alone}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A policy server under load.")
    parser.add_argument("--steps", type=int, default=2000, help="of each mix")
    parser.add_argument(
        "--part", choices=sorted(PARTS_OF_IT), help="only that (default: all)"
    )
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    parser.add_argument("--clients", nargs=4, help="what the benchmark itself runs")
    args = parser.parse_args()
    if args.clients:
        kind, url, robots, steps = args.clients
        begun = time.perf_counter()
        seen = asyncio.run(clients(kind, url, int(robots), int(steps)))
        seconds = time.perf_counter() - begun
        print(json.dumps({"seen": seen, "seconds": seconds}))
        return
    from report import write_json

    rows: dict[str, Any] = {}
    if args.part and args.json and args.json.exists():
        rows = json.loads(args.json.read_text())
    for part in [args.part] if args.part else PARTS_OF_IT:
        rows |= PARTS_OF_IT[part](args.steps)
    print(json.dumps(rows, indent=2))
    if args.json:
        write_json(args.json, rows)


if __name__ == "__main__":
    main()
