"""The host's part of a call: checks, and the way to the compiled program."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jax_stepcache
from jax_stepcache.requests.compiled import opened_state, put
from jax_stepcache.requests.many import check_many

_CACHE = {
    "cache": "step_cache",
    "cache_config": {
        "velocity_sim_thresholds": [0.98],
        "velocity_skip_countdowns": [3],
    },
}


def host_milliseconds(repeats: int = 50, requests: int = 64) -> dict[str, float]:
    """What the host does for the tabletop, compiled beforehand.

    Args:
        repeats: timed calls of `sample`.
        requests: how many `sample_many` is given.

    Returns:
        Medians in ms: ``sample``, until it returns with its arrays still to come; and
        of `sample_many` for each request, ``checks`` and the way ``into place``.
    """
    params = jax_stepcache.load_params("tabletop")
    keys = jax.random.split(jax.random.key(0), requests)
    tables = [params.model.example(key) for key in keys]

    def call() -> Any:
        return jax_stepcache.sample(
            params, observation=tables[0], key=keys[0], **_CACHE
        )

    many = [
        jax_stepcache.Request(
            observation=table,
            key=key,
            num_inference_steps=8 + 4 * (i % 3),
            guidance_scale=1.5 + 0.5 * (i % 2),
        )
        for i, (table, key) in enumerate(zip(tables, keys, strict=True))
    ]

    def check() -> Any:
        return check_many(params, many, slots=8, **_CACHE)

    checked = check()

    def into_place() -> Any:
        admission, entries = checked
        state = opened_state(admission.plan, admission.weights, entries[0], requests)
        for place, entry in enumerate(entries):
            state = put(state, np.int32(place), entry)
        return state

    return {
        "sample": _median(call, repeats),
        "sample_many, checks": _median(check, 5) / requests,
        "sample_many, into place": _median(into_place, 5) / requests,
    }


def _median(call: Callable[[], Any], repeats: int) -> float:
    """Milliseconds until a call returns; what it has started is waited for between."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        returned = call()
        taken.append(1e3 * (time.perf_counter() - start))
        jax.block_until_ready(returned)
    return statistics.median(taken)
