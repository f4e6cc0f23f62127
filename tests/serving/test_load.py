"""Under load, each request gets exactly one answer or one error, and its own."""

from __future__ import annotations

import collections
import gc
import queue
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import Server, serve, step_cache
from jax_stepcache.serving.stream import Stream

REQUESTS, THREADS = 10_000, 16
POISONED, CANCELLED = 0.01, 0.05
_SIGMA_MAX = np.float32(0.999)


def straight(params: Any, x: jax.Array, t: jax.Array, condition: jax.Array) -> Any:
    """The velocity is the condition: the sample ends at noise - 0.999 * condition."""
    del t
    return 0 * x * params + condition


def opened(capacity: int) -> Stream:
    zeros = np.zeros((1, 2), np.float32)
    return serve(
        np.float32(0),
        model=straight,
        cache=step_cache(),
        solver="euler",
        slots=8,
        capacity=capacity,
        max_inference_steps=8,
        example={"noise": zeros, "condition": zeros},
        num_inference_steps=4,
    )


def asked(number: int, poisoned: bool) -> dict[str, Any]:
    """A request that only its own answer fits."""
    draw = np.random.default_rng(number)
    noise = draw.normal(size=(1, 2)).astype(np.float32)
    if poisoned:
        noise[0, number % 2] = [np.nan, np.inf][number % 4 // 2]
    condition = np.asarray([[number, -number]], np.float32) / REQUESTS
    steps = 2 + number % 6
    return {"noise": noise, "condition": condition, "num_inference_steps": steps}


def held(kinds: tuple[type, ...]) -> dict[str, int]:
    """What is in memory: arrays on devices, and objects of some types."""
    gc.collect()
    found = collections.Counter(type(x).__name__ for x in gc.get_objects())
    names = [kind.__name__ for kind in kinds]
    return {"arrays": len(jax.live_arrays())} | {name: found[name] for name in names}


@pytest.mark.slow
@pytest.mark.usefixtures("full_compilation")
def test_each_of_10000_requests_gets_its_own_answer_or_error_once() -> None:
    """Rule: one answer or one error each, none another's, whatever is cancelled."""
    kinds = (Future, threading.Thread)
    stream = opened(capacity=64)
    before = held(kinds)
    seen: collections.Counter[str] = collections.Counter()
    answers: collections.Counter[int] = collections.Counter()
    wrong: list[Any] = []
    lock = threading.Lock()

    def client(first: int, server: Server) -> None:
        draw = np.random.default_rng(first)
        mine: list[tuple[int, bool, Future]] = []
        for number in range(first, REQUESTS, THREADS):
            poisoned = bool(draw.random() < POISONED)
            future = server.submit(asked(number, poisoned))
            future.add_done_callback(lambda _, number=number: answers.update([number]))
            if draw.random() < CANCELLED:
                future.cancel()
            mine.append((number, poisoned, future))
        for number, poisoned, future in mine:
            kind = outcome(number, poisoned, future)
            with lock:
                seen[kind] += 1
                if kind == "wrong":
                    wrong.append((number, poisoned, future))

    def outcome(number: int, poisoned: bool, future: Future) -> str:
        try:
            result = future.result(timeout=300)
        except CancelledError:
            return "cancelled"
        except FloatingPointError:
            return "failed" if poisoned else "wrong"
        request = asked(number, False)
        expected = request["noise"] - _SIGMA_MAX * request["condition"]
        ran = len(result.stats.computed) == request["num_inference_steps"]
        near = np.allclose(result.sample, expected, atol=1e-5)
        return "answered" if near and ran and not poisoned else "wrong"

    with Server(stream) as server:
        threads = [
            threading.Thread(target=client, args=(first, server))
            for first in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert sum(seen.values()) == REQUESTS
        assert set(answers) == set(range(REQUESTS))
        assert set(answers.values()) == {1}
        assert seen["cancelled"] > 100
        assert seen["failed"] > 20
    # Nothing is left of them: neither in the stream, nor of arrays, futures, threads.
    assert len(stream) == 0
    del threads, thread, server
    assert held(kinds) == before


def test_a_full_server_refuses_and_goes_on() -> None:
    """Rule: back-pressure is told to who does not wait, and harms nobody."""
    with Server(opened(capacity=2)) as server:
        taken, refused = [], 0
        for number in range(40):
            try:
                taken.append((number, server.submit(asked(number, False), block=False)))
            except queue.Full:
                refused += 1
        for number, future in taken:
            request = asked(number, False)
            expected = request["noise"] - _SIGMA_MAX * request["condition"]
            np.testing.assert_allclose(future.result().sample, expected, atol=1e-5)
        assert refused
        assert len(taken) + refused == 40
