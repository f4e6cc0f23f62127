"""`sample_many`: any number of requests through a fixed number of slots."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.check import check_count
from jax_stepcache.errors import naming
from jax_stepcache.loop.generation import Generation
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.network.params import check_params
from jax_stepcache.options import Request
from jax_stepcache.processes import whole_everywhere
from jax_stepcache.requests.admission import (
    Admission,
    admission_for,
    check_shared,
)
from jax_stepcache.requests.at_once import (
    are_alike,
    axes_of,
    batch_of,
    sampled_at_once,
)
from jax_stepcache.requests.compiled import (
    Report,
    State,
    advance,
    opened_state,
    put,
    taken_out,
)
from jax_stepcache.requests.finished import finished_result
from jax_stepcache.requests.places import Entry
from jax_stepcache.requests.request import as_request, resolve_request
from jax_stepcache.requests.shapes import Shapes, check_shapes, fitted, grouped
from jax_stepcache.requests.together import MOST, groups, put_together

NO_LIMIT = np.int32(np.iinfo(np.int32).max)


def sample_many(
    params: Any,
    requests: Iterable[Request | Mapping[str, Any]],
    *,
    slots: int = 8,
    max_inference_steps: int | None = None,
    shapes: Any = None,
    **options: Any,
) -> list[SampleResult]:
    """Samples many requests, each as if it were alone, at nearly full use of the batch.

    The compiled loop goes over network calls. Each slot walks through its skipped steps
    by itself, until it needs the network; then one call serves all slots, each at its
    own step. A slot whose request is finished takes the next one inside the loop, those
    with most steps first. A cache inside the network decides in every call for each
    slot, and what it may skip runs on those that miss. As many requests as slots, or
    fewer, are one batch: nothing waits, and nothing is moved between two calls.

    Compiles once for requests of the same shapes: conditions, keys, step counts,
    schedules, thresholds and guidance scales are data. What compiles again is a number
    of requests beyond the next power of two, another longest step count where
    ``max_inference_steps`` is not given, guidance where no request had any, and with a
    cache inside the network whether all of a batch have as many steps. It works on the
    host, so it cannot be called inside `jax.jit`.

    Args:
        params: see `sample`.
        requests: `Request`s, or mappings with their fields; arrays are batches of one.
        slots: how many run side by side; memory beside the requests' own grows with it.
        max_inference_steps: steps that any request may take; None for the most of them.
        shapes: None where all requests have one size. ``"each"`` where sizes differ:
            those of one size are batched together, and each size compiles once; or a
            list of the sizes that there may be, shapes of a sample without its axis of
            rows. A bundled model that is made for a size, such as Wan, takes that of
            the request's noise or ``init_sample``.
        **options: options of `sample` that all requests share, such as ``cache``,
            ``model`` and ``solver``; what a request has of its own takes their place.

    Returns:
        The results in the order of the requests, each with its own statistics. Their
        ``batching`` says where and when each ran.

    Raises:
        ValueError: for a request that does not fit, with its index, before anything is
            compiled.
        TypeError: where an argument is of the wrong kind.
    """
    if isinstance(requests, Request | Mapping) or not isinstance(requests, Iterable):
        raise TypeError(f"requests is {requests!r:.80}; give a list of requests")
    coming = iter(requests)
    for first in coming:
        every = check_by_size(
            params,
            # Each is looked at before the next is asked for: they may share a buffer.
            itertools.chain([first], coming),
            slots=slots,
            max_inference_steps=max_inference_steps,
            shapes=shapes,
            **options,
        )
        results: dict[int, SampleResult] = {}
        for some, checked in every:
            # So that few other numbers of requests are another program.
            places = 1 << (len(checked.entries) - 1).bit_length()
            results.update(zip(some, run_many(checked, places), strict=True))
        return [results[index] for index in range(len(results))]
    check_shapes(shapes)
    return []


class Checked(NamedTuple):
    """Requests that go together.

    Attributes:
        admission: what lets them in.
        entries: what is put into places, one for each.
    """

    admission: Admission
    entries: list[Entry]


def check_many(
    params: Any,
    requests: Iterable[Any],
    *,
    slots: int,
    max_inference_steps: int | None = None,
    what: str = "requests",
    **options: Any,
) -> Checked:
    """Checks requests as `sample_many` does; arrays may be structs.

    Args:
        params: see `sample_many`; so are the others.
        requests: likewise; at least one.
        slots: likewise.
        max_inference_steps: likewise.
        what: the name of the requests, for errors.
        **options: likewise.

    Returns:
        The requests, to run.

    Raises:
        ValueError: see `sample_many`.
        TypeError: likewise.
    """
    ((_, checked),) = check_by_size(
        params,
        requests,
        slots=slots,
        max_inference_steps=max_inference_steps,
        what=what,
        **options,
    )
    return checked


def check_by_size(
    params: Any,
    requests: Iterable[Any],
    *,
    slots: int,
    max_inference_steps: int | None = None,
    shapes: Any = None,
    what: str = "requests",
    **options: Any,
) -> list[tuple[list[int], Checked]]:
    """As `check_many`, of requests whose sizes may differ.

    Args:
        params: see `sample_many`; so are the others.
        requests: likewise; at least one.
        slots: likewise.
        max_inference_steps: likewise.
        shapes: likewise.
        what: the name of the requests, for errors.
        **options: likewise.

    Returns:
        For each size the indices of its requests, and those, to run.

    Raises:
        ValueError: see `sample_many`.
        TypeError: likewise.
    """
    sizes = check_shapes(shapes)
    told = _checked_options(params, slots, options)
    resolved = _resolved(params, requests, sizes, told, what)
    return [
        (some, _admitted(resolved, some, slots, max_inference_steps, what, told))
        for some in grouped(resolved, sizes)
    ]


def _checked_options(
    params: Any, slots: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    options = check_shared(options, ("slots", "max_inference_steps", "shapes"))
    check_params(params, options.get("model"))
    check_count("slots", slots, 1)
    return options


def _resolved(
    params: Any,
    requests: Iterable[Any],
    shapes: Shapes,
    options: Mapping[str, Any],
    what: str,
) -> list[Generation]:
    resolved = []
    for index, given in enumerate(requests):
        with naming(what, index):
            request = as_request(given)
            own = fitted(params, request, shapes)
            resolved.append(resolve_request(own, options, request))
    return resolved


def _admitted(
    resolved: Sequence[Generation],
    some: Sequence[int],
    slots: int,
    max_inference_steps: int | None,
    what: str,
    options: Mapping[str, Any],
) -> Checked:
    """Those of some indices, which have one size."""
    requests = [resolved[index] for index in some]
    slots = min(slots, 1 << (len(requests) - 1).bit_length())
    admission = admission_for(options, requests, slots, max_inference_steps)
    entries = []
    for index, request in zip(some, requests, strict=True):
        with naming(what, index):
            entries.append(admission.checked(request))
        if len(entries) == 1:
            admission = admission.with_example(entries[0])
    return Checked(admission, admission.drawn(requests, entries))


@in_automatic_context
def run_many(checked: Checked, places: int) -> list[SampleResult]:
    """Runs requests that have been checked.

    Args:
        checked: the requests.
        places: room for them, at least as many as there are; looked at only where there
            are more requests than slots.

    Returns:
        The results in the order of the requests.
    """
    if len(checked.entries) <= checked.admission.plan.slots:
        return _run_at_once(checked)
    plan, weights = checked.admission.plan, checked.admission.weights
    entries = checked.entries
    state = placed(checked, places)
    # The longest first: at the end, when slots run dry, only short ones are left.
    steps = np.zeros(places, np.int32)
    steps[: len(entries)] = [entry.settings.num_steps for entry in entries]
    order = np.argsort(-steps, kind="stable").astype(np.int32)
    told = order, np.int32(len(entries)), np.zeros(places, bool), NO_LIMIT
    state, report = advance(plan, weights, state, *sent(told, weights))
    return results_of(checked, state, report)


def _run_at_once(checked: Checked) -> list[SampleResult]:
    plan, weights = checked.admission.plan, checked.admission.weights
    entries = checked.entries
    axes, alike = axes_of(plan, weights, entries[0]), are_alike(plan, entries)
    batch = batch_of(plan, weights, axes, entries)
    count = sent(np.int32(len(entries)), weights)
    done = sampled_at_once(plan, axes, alike, weights, batch, count)
    return _finished(checked, done.samples, done.calls, done.trace)


def placed(checked: Checked, places: int) -> State:
    """Idle slots, and the requests in their places.

    Args:
        checked: the requests.
        places: room for them.

    Returns:
        The state to begin with.
    """
    admission, entries = checked
    state = opened_state(admission.plan, admission.weights, entries[0], places)
    for start, some in groups(entries, min(MOST, places)):
        told = np.int32(start), put_together(some)
        state = put(state, *sent(told, admission.weights))
    return state


def results_of(checked: Checked, state: State, report: Report) -> list[SampleResult]:
    """Takes results out of their places; what is read of them is fetched at once.

    Args:
        checked: the requests.
        state: after all of them are finished.
        report: what was done.

    Returns:
        The results in the order of the requests.
    """
    weights, places = checked.admission.weights, state.places
    samples: dict[int, Any] = {}
    for start, some in groups(checked.entries, min(MOST, len(places.finished))):
        first = sent(np.int32(start), weights)
        samples.update(enumerate(taken_out(places.sample, first, len(some)), start))
    return _finished(checked, samples, report.calls, places.trace)


def _finished(
    checked: Checked, samples: Any, calls: Any, traces: Any
) -> list[SampleResult]:
    calls, traces = jax.device_get(whole_everywhere((calls, traces)))
    inside = checked.admission.plan.span is not None
    return [
        finished_result(
            samples[i],
            jax.tree.map(lambda x, at=i: x[at], traces),
            entry,
            calls,
            inside,
        )
        for i, entry in enumerate(checked.entries)
    ]
