"""2,000 requests from 8 threads, as bad as they come: each ends once, and right."""

from __future__ import annotations

import collections
import queue
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest

from jax_stepcache import DeadlineExceeded, Server, serve
from jax_stepcache.requests.places import Entry
from jax_stepcache.serving.answer import Answer
from jax_stepcache.serving.held import Held

from ..requests.drawn import SHARED, STEPS, alone, assert_alike, drawn
from ..staged import WEIGHTS
from .test_load import held

REQUESTS, THREADS, BURST, CAPACITY = 2_000, 8, 25, 24
# Few kinds of requests, so that each is sampled alone once.
SEEDS, CACHE = 40, "step_cache"
# What a client does to a request, how often, and how it may end.
FATES: dict[str, tuple[float, set[str]]] = {
    "plain": (0.5, {"answered"}),
    "cancelled": (0.1, {"cancelled", "answered"}),
    "late": (0.08, {"late"}),
    "hurried": (0.07, {"late", "answered"}),
    "poisoned": (0.08, {"failed"}),
    "misshapen": (0.07, {"refused"}),
    "without waiting": (0.1, {"answered", "full"}),
}
ARRAYS = ("noise", "condition", "negative_condition")


def asked(seed: int, fate: str, buffers: dict[str, np.ndarray]) -> dict[str, Any]:
    """A request in buffers that all of a thread's requests share."""
    request = drawn(CACHE, seed)
    for name in ARRAYS:
        if name in request:
            buffer = buffers.setdefault(name, np.empty_like(request[name]))
            buffer[...] = request[name]
            request[name] = buffer
    if fate == "poisoned":
        request["noise"][0, seed % 4, seed % 3] = [np.nan, np.inf][seed % 2]
    if fate == "misshapen":
        request["noise"] = np.zeros([(1, 5, 3), (2, 4, 3), (1, 4)][seed % 3], "f4")
    return request


def ending(seed: int, future: Future) -> str:
    """How a request has ended; an answer is compared with that of `sample`."""
    try:
        result = future.result(timeout=120)
    except CancelledError:
        return "cancelled"
    except DeadlineExceeded:
        return "late"
    except FloatingPointError:
        return "failed"
    assert_alike(result, alone(CACHE, seed), seed)
    return "answered"


class Client:
    """One thread: bursts of requests, more at once than the server has room for."""

    def __init__(self, number: int, server: Server) -> None:
        self.draw, self.server = np.random.default_rng(number), server
        self.buffers: dict[str, np.ndarray] = {}
        self.asked = 0
        self.called: collections.Counter[int] = collections.Counter()
        self.ends: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        try:
            for _ in range(REQUESTS // THREADS // BURST):
                self.burst()
        except BaseException as error:
            self.failures.append(error)

    def burst(self) -> None:
        sent = [one for _ in range(BURST) if (one := self.send()) is not None]
        for seed, fate, future in sent:
            self.ends[fate, ending(seed, future)] += 1

    def send(self) -> tuple[int, str, Future] | None:
        chances = [chance for chance, _ in FATES.values()]
        fate = str(self.draw.choice(list(FATES), p=chances))
        seed, number = int(self.draw.integers(SEEDS)), self.asked
        self.asked += 1
        try:
            future = self.server.submit(
                asked(seed, fate, self.buffers),
                priority=float(self.draw.integers(3)),
                deadline={"late": -1.0, "hurried": 0.02}.get(fate),
                block=fate != "without waiting",
            )
        except queue.Full:
            self.ends[fate, "full"] += 1
            return None
        except ValueError:
            self.ends[fate, "refused"] += 1
            return None
        finally:
            for buffer in self.buffers.values():
                buffer[...] = np.nan
        future.add_done_callback(lambda _: self.called.update([number]))
        if fate == "cancelled":
            future.cancel()
        return seed, fate, future


@pytest.mark.slow
@pytest.mark.usefixtures("full_compilation")
def test_2000_requests_of_all_kinds_end_once_and_right() -> None:
    """Rule: steps, thresholds, guidance; cancelled, late, NaN, misshapen, too many."""
    for seed in range(SEEDS):
        alone(CACHE, seed)
    guided = next(i for i in range(SEEDS) if "negative_condition" in drawn(CACHE, i))
    stream = serve(
        WEIGHTS,
        cache=CACHE,
        example=drawn(CACHE, guided),
        slots=8,
        capacity=CAPACITY,
        calls_per_chunk=2,
        max_inference_steps=max(STEPS),
        **SHARED,
    )
    kinds = (Answer, Held, Entry, threading.Thread)
    before = held(kinds)
    with Server(stream) as server:
        clients = [Client(number, server) for number in range(THREADS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [client.failures for client in clients] == [[]] * THREADS
    ends = sum((client.ends for client in clients), collections.Counter())
    assert {fate for fate, _ in ends} == set(FATES)
    for (fate, end), count in ends.items():
        assert end in FATES[fate][1], (fate, end, count)
    assert sum(client.asked for client in clients) == sum(ends.values()) == REQUESTS
    unsent = sum(n for (_, end), n in ends.items() if end in ("refused", "full"))
    called = [n for client in clients for n in client.called.values()]
    assert called == [1] * (REQUESTS - unsent)
    for end in ("answered", "cancelled", "late", "failed", "refused"):
        assert sum(n for (_, one), n in ends.items() if one == end) > 50, ends
    # Nothing is left of them: neither in the stream, nor of arrays, futures, threads.
    assert len(stream) == 0
    del clients, threads, thread, server
    assert held(kinds) == before
