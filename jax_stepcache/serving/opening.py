"""`serve`: opens a stream of requests."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

from jax_stepcache.check import check_count
from jax_stepcache.network.params import check_params
from jax_stepcache.options import Request
from jax_stepcache.requests.admission import check_shared
from jax_stepcache.serving.stream import Stream


def serve(
    params: Any,
    *,
    slots: int = 8,
    capacity: int | None = None,
    calls_per_chunk: int = 4,
    max_inference_steps: int | None = None,
    example: Request | Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Stream:
    """Opens a stream of requests.

    ``for outcome in stream`` runs it and yields outcomes as requests finish; more may
    be submitted all the while. One thread at a time may use it; `Server` is for more.

    Args:
        params: see `sample`.
        slots: how many requests run side by side.
        capacity: how many may be in the stream, waiting and running; None for four
            times the slots. One more is refused.
        calls_per_chunk: network calls of a compiled chunk, at most. Between chunks the
            host puts new requests in, takes results out, and drops what is cancelled
            or late.
        max_inference_steps: steps that any request may take; None for 50, or for those
            of the first request where it steps by a table.
        example: a request to fix shapes and guidance by, and to compile for, now
            rather than at the first request, which does so without one.
        clock: tells the seconds that deadlines are counted in.
        **options: options of `sample` that all requests share.

    Returns:
        The stream.

    Raises:
        ValueError: for settings or an example that do not fit.
        TypeError: where an argument is of the wrong kind.
    """
    own = inspect.signature(serve).parameters.keys() - {"params", "options"}
    options = check_shared(options, own)
    check_params(params, options.get("model"))
    check_count("slots", slots, 1)
    if not callable(clock):
        raise TypeError(
            f"clock is {clock!r:.80}; give a function that returns seconds, such as "
            "time.monotonic"
        )
    check_count("calls_per_chunk", calls_per_chunk, 1)
    if max_inference_steps is not None:
        check_count("max_inference_steps", max_inference_steps, 1)
    capacity = 4 * slots if capacity is None else capacity
    check_count("capacity", capacity, 1)
    stream = Stream(
        params, options, slots, capacity, calls_per_chunk, max_inference_steps, clock
    )
    if example is not None:
        stream.check(example)
        stream.compile()
    return stream
