"""From what a slot has noted to a result."""

from __future__ import annotations

from typing import Any

import numpy as np

from jax_stepcache.batching.slots import Trace
from jax_stepcache.loop.result import Batching, SampleResult, stats_of
from jax_stepcache.requests.places import Entry


def finished_result(
    sample: Any, trace: Trace, entry: Entry, network_calls: int, inside: bool
) -> SampleResult:
    """The result of a request, as `sample` would give it.

    Args:
        sample: its sample.
        trace: what was done, NumPy arrays with as many steps as any request may take.
        entry: the request.
        network_calls: for all requests, so far.
        inside: whether the cache is inside the network.

    Returns:
        The result; statistics are NumPy arrays, of this request alone.
    """
    settings = entry.settings
    steps = int(settings.num_steps)
    computed, signal, threshold, call = (
        x[:steps].copy()
        for x in (trace.computed, trace.signal, trace.threshold, trace.call)
    )
    ran = None if trace.ran is None else trace.ran[:steps].copy()
    if ran is not None and float(settings.scale) == 1:
        # Alone it has one branch, and its decisions are the request's.
        if ran.ndim == 2:
            ran, signal, threshold = None, signal[:, 0], threshold[:, 0]
        else:
            ran, signal, threshold = ran[:, :1], signal[:, :1], threshold[:, :1]
    stats = stats_of(computed, ran, signal, threshold, trace.nonfinite)
    calls = np.asarray(network_calls, np.int32)
    batching = Batching(trace.slot.copy(), call, calls, np.asarray(inside))
    stats = stats._replace(batching=batching, asked=entry.asked)
    return SampleResult(sample, stats)
