"""`sample_many`: any number of requests through a fixed number of slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.batching.admission import admission_for, check_shared, resolve
from jax_stepcache.batching.compiled import advance, empty_state, put, result_at
from jax_stepcache.batching.finished import finished_result
from jax_stepcache.batching.request import Request, as_request
from jax_stepcache.check import check_count
from jax_stepcache.errors import naming
from jax_stepcache.result import SampleResult

NO_LIMIT = np.int32(np.iinfo(np.int32).max)


def sample_many(
    params: Any,
    requests: Iterable[Request | Mapping[str, Any]],
    *,
    slots: int = 8,
    max_inference_steps: int | None = None,
    **options: Any,
) -> list[SampleResult]:
    """Samples many requests, each as if it were alone, at nearly full use of the batch.

    The compiled loop goes over network calls. Each slot walks through its skipped steps
    by itself, until it needs the network; then one call serves all slots, each at its
    own step. A slot whose request is finished takes the next one inside the loop. A
    cache inside the network decides in every call for each slot, and what it may skip
    runs on those that miss.

    Compiles once for requests of the same shapes, up to the next power of two of them:
    conditions, keys, step counts, schedules, thresholds and guidance scales are data.

    Args:
        params: see `sample`.
        requests: `Request`s, or mappings with their fields; arrays are batches of one.
        slots: how many run side by side; memory beside the requests' own grows with it.
        max_inference_steps: steps that any request may take; None for the most of them.
            Give it where it would change from call to call: another is compiled anew.
        **options: options of `sample` that all requests share, such as ``cache``,
            ``model`` and ``solver``; what a request has of its own goes first.

    Returns:
        The results in the order of the requests, each with its own statistics. Their
        ``batching`` says where and when each ran.

    Raises:
        ValueError: for a request that does not fit, with its index, before anything is
            compiled.
        TypeError: where an argument is of the wrong kind.
    """
    check_shared(options)
    check_count("slots", slots, 1)
    if isinstance(requests, Request | Mapping):
        raise TypeError("requests is one request; give a list of them")
    checked = []
    for index, request in enumerate(requests):
        with naming("requests", index):
            checked.append(resolve(params, options, as_request(request)))
    if not checked:
        return []
    count = len(checked)
    # So that few other numbers of requests are another program.
    places = 1 << (count - 1).bit_length()
    slots = min(slots, places)
    admission = admission_for(params, options, checked, slots, max_inference_steps)
    entries = []
    for index, request in enumerate(checked):
        with naming("requests", index):
            entries.append(admission.entry(request))
        if not index:
            admission = admission.with_example(entries[0])

    plan, weights = admission.plan, admission.weights
    state = empty_state(plan, weights, entries[0], places)
    for place, entry in enumerate(entries):
        state = put(state, np.int32(place), entry)
    # The longest first: at the end, when slots run dry, only short ones are left.
    steps = np.zeros(places, np.int32)
    steps[:count] = [entry.settings.num_steps for entry in entries]
    state, report = advance(
        plan,
        weights,
        state,
        np.argsort(-steps, kind="stable").astype(np.int32),
        np.int32(count),
        np.zeros(places, bool),
        NO_LIMIT,
    )
    calls = int(report.calls)
    traces = jax.device_get(state.places.trace)
    results = []
    for place, entry in enumerate(entries):
        sample, _ = result_at(state, np.int32(place))
        trace = jax.tree.map(lambda x, at=place: x[at], traces)
        results.append(finished_result(sample, trace, entry.settings, calls))
    return results
