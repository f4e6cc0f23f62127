"""Streams: order, room, lateness, and requests that fail alone."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import DeadlineExceeded, Server, Stream, serve

from ..requests.drawn import SHARED, STEPS, alone, assert_alike, drawn
from ..staged import UNROLLED, WEIGHTS


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
GUIDED = next(seed for seed in range(9) if drawn("none", seed)["guidance_scale"] != 1)


def opened(cache: str = "step_cache", **more: Any) -> Stream:
    settings = {"slots": 2, "calls_per_chunk": 2, "max_inference_steps": max(STEPS)}
    example = drawn(cache, GUIDED)
    return serve(
        WEIGHTS, cache=cache, example=example, clock=CLOCK, **SHARED, **settings | more
    )


def one_slot() -> Stream:
    return opened(slots=1, calls_per_chunk=1, capacity=5)


def asked(seed: int, cache: str = "step_cache") -> dict[str, Any]:
    return drawn(cache, seed)


def poisoned(seed: int) -> dict[str, Any]:
    request = asked(seed)
    noise = request["noise"].copy()
    noise[0, 0, 0] = np.nan
    return request | {"noise": noise}


@pytest.mark.parametrize(
    "cache", ["step_cache", pytest.param("cache_dit", marks=pytest.mark.slow)]
)
def test_a_stream_answers_as_sample_does(cache: str) -> None:
    """Requests come while others run; each gets what it would get alone."""
    stream, left = opened(cache), iter(range(3, 40))
    tickets = {stream.submit(asked(seed, cache)): seed for seed in range(3)}
    seen = {}
    for outcome in stream:
        seen[outcome.ticket] = outcome.unwrap()
        if (seed := next(left, None)) is not None:
            tickets[stream.submit(asked(seed, cache))] = seed
    assert len(seen) == 40
    for ticket, seed in tickets.items():
        assert_alike(seen[ticket], alone(cache, seed), seed)
    computed = np.concatenate([result.stats.computed for result in seen.values()])
    assert computed.any()
    assert not computed.all()


def test_an_endless_iterable_is_asked_only_when_there_is_room() -> None:
    """`feed` never holds more than the capacity, and answers what is over in time."""

    def endless() -> Iterator[dict[str, Any]]:
        seed = 0
        while True:
            assert len(stream) < stream.capacity
            yield asked(seed % 20)
            seed += 1

    stream = opened()
    outcomes = stream.feed(endless())
    for _ in range(30):
        outcome = next(outcomes)
        assert_alike(
            outcome.unwrap(), alone("step_cache", outcome.ticket % 20), outcome
        )


def test_who_stops_listening_finds_the_other_outcomes_later() -> None:
    """No outcome is lost where a loop over them ends early."""
    stream = opened(calls_per_chunk=50)
    tickets = {stream.submit(asked(seed)) for seed in range(6)}
    first = next(iter(stream))
    rest = [outcome.ticket for outcome in stream]
    assert len(rest) == 5
    assert {first.ticket, *rest} == tickets


def test_a_full_stream_refuses() -> None:
    """Back-pressure: one more than the capacity is an error, until there is room."""
    stream = opened()
    for seed in range(stream.capacity):
        stream.submit(asked(seed))
    with pytest.raises(queue.Full, match="8 requests"):
        stream.submit(asked(9))
    assert len(list(stream)) == 8
    stream.submit(asked(9))


def test_the_most_urgent_goes_first() -> None:
    """By priority, then deadline, then ticket."""
    stream = one_slot()
    CLOCK.now = 0.0
    request = asked(0)
    stream.submit(request)
    stream.step()
    late = stream.submit(request)
    soon = stream.submit(request, deadline=50.0)
    sooner = stream.submit(request, deadline=40.0)
    urgent = stream.submit(request, priority=1)
    order = [outcome.ticket for outcome in stream]
    assert order == [0, urgent, sooner, soon, late]


def test_deadlines_take_out_who_waits_and_who_runs() -> None:
    """Late requests fail with DeadlineExceeded; their slots serve others."""
    CLOCK.now = 0.0
    stream = one_slot()
    running = stream.submit(asked(4), deadline=10.0)
    waiting = stream.submit(asked(5), deadline=10.0)
    patient = stream.submit(asked(6))
    assert stream.step() == []
    CLOCK.now = 11.0
    outcomes = {outcome.ticket: outcome for outcome in stream}
    for ticket in (running, waiting):
        with pytest.raises(DeadlineExceeded, match=f"request {ticket} "):
            outcomes[ticket].unwrap()
    assert_alike(outcomes[patient].unwrap(), alone("step_cache", 6), 6)


def test_cancelling_frees_place_and_slot() -> None:
    """A cancelled request has one outcome, and nobody else notices."""
    stream = one_slot()
    running, waiting, kept = (stream.submit(asked(seed)) for seed in (4, 5, 6))
    stream.step()
    assert stream.cancel(running)
    assert stream.cancel(waiting)
    assert not stream.cancel(waiting)
    # Their places are taken anew before the slot has been cleared.
    after = [stream.submit(asked(seed)) for seed in (7, 8)]
    outcomes = {outcome.ticket: outcome for outcome in stream}
    assert len(outcomes) == 5
    for ticket in (running, waiting):
        with pytest.raises(CancelledError):
            outcomes[ticket].unwrap()
    for ticket, seed in zip([kept, *after], (6, 7, 8), strict=True):
        assert_alike(outcomes[ticket].unwrap(), alone("step_cache", seed), seed)


def test_a_poisoned_request_fails_alone() -> None:
    """A NaN reaches nobody else's slot, and leaves its own at once."""
    stream = opened()
    tickets = [
        stream.submit(poisoned(seed) if seed == 2 else asked(seed)) for seed in range(6)
    ]
    outcomes = {outcome.ticket: outcome for outcome in stream}
    for seed, ticket in enumerate(tickets):
        if seed == 2:
            with pytest.raises(FloatingPointError, match="NaN"):
                outcomes[ticket].unwrap()
        else:
            assert_alike(outcomes[ticket].unwrap(), alone("step_cache", seed), seed)


def test_requests_that_do_not_fit_are_told_and_change_nothing() -> None:
    """Wrong shapes, names and counts are errors at once, with what is allowed."""
    stream = opened()
    good = asked(1)
    wrong = {
        "its noise has 2 rows": {"noise": np.zeros((2, 4, 3), np.float32)},
        r"\[1, 5, 3\]; other requests": {"noise": np.zeros((1, 5, 3), np.float32)},
        "max_inference_steps is 8": {"num_inference_steps": 9},
        "Did you mean 'noise'": {"nois": 0},
        r"shape \(3, 8\); a request is a batch of one": {
            "condition": np.zeros((3, 8), np.float32)
        },
    }
    for match, change in wrong.items():
        request = good | change
        if "condition" in change:
            request = request | {"guidance_scale": 1.0}
            request.pop("negative_condition", None)
        with pytest.raises(ValueError, match=match):
            stream.submit(request)
    with pytest.raises(TypeError, match="a request is a Request"):
        stream.submit(3)  # pyright: ignore
    for name, value in (("deadline", np.inf), ("priority", "high"), ("priority", None)):
        with pytest.raises(ValueError, match=f"{name} is {value!r}"):
            stream.submit(good, **{name: value})
    outcomes = list(stream.feed([good | {"nois": 0}, good]))
    assert isinstance(outcomes[0].error, ValueError)
    assert_alike(outcomes[1].unwrap(), alone("step_cache", 1), 1)
    assert len(stream) == 0


def test_settings_of_a_stream_are_checked() -> None:
    """Counts and option names, before anything is compiled."""
    for name in ("slots", "capacity", "calls_per_chunk", "max_inference_steps"):
        with pytest.raises(ValueError, match=name):
            serve(WEIGHTS, model=UNROLLED, **{name: 0})
    with pytest.raises(TypeError, match="Did you mean 'cache_config'"):
        serve(WEIGHTS, model=UNROLLED, cache_confg={})
    with pytest.raises(ValueError, match="decide is 'batch'; requests decide each"):
        serve(WEIGHTS, model=UNROLLED, decide="batch")
    with pytest.raises(TypeError, match="a server runs"):
        Server(WEIGHTS)  # pyright: ignore
    with pytest.raises(ValueError, match="example="):
        Server(serve(WEIGHTS, model=UNROLLED))


def test_a_server_closes_as_it_is_told() -> None:
    """What was submitted is finished, or cancelled; afterwards nothing is taken."""
    with Server(opened()) as server:
        futures = [server.submit(asked(seed)) for seed in range(5)]
    for seed, future in enumerate(futures):
        assert_alike(future.result(timeout=0), alone("step_cache", seed), seed)
    with pytest.raises(RuntimeError, match="closed"):
        server.submit(asked(0))

    server = Server(one_slot())
    futures = [server.submit(asked(seed)) for seed in range(4)]
    server.close(cancel=True)
    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures)


def test_one_bad_priority_harms_nobody_else() -> None:
    """It is refused at submit; the server goes on."""
    with Server(opened()) as server:
        for bad in ("high", None, np.nan):
            with pytest.raises(ValueError, match="priority is"):
                server.submit(asked(0), priority=bad)  # pyright: ignore
        result = server.submit(asked(0)).result()
    assert_alike(result, alone("step_cache", 0), 0)


def test_a_callback_may_use_the_server() -> None:
    """It runs in the thread that makes room, so it neither waits nor joins."""
    answers: queue.Queue[Any] = queue.Queue()

    def again(_: Any) -> None:
        answers.put(server.submit(asked(1)))
        server.close()

    server = Server(opened())
    server.submit(asked(0)).add_done_callback(again)
    second = answers.get(timeout=300)
    assert_alike(second.result(timeout=300), alone("step_cache", 1), 1)
    server.close()


def test_a_failing_device_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error in a chunk reaches every future, and the server closes."""
    stream = opened()

    def broken() -> None:
        raise jax.errors.JaxRuntimeError("the device is gone")

    monkeypatch.setattr(stream, "step", broken)
    server = Server(stream)
    future = server.submit(asked(0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="gone"):
        future.result(timeout=300)
    with pytest.raises(RuntimeError, match="closed"):
        server.submit(asked(0))
