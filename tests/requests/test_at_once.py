"""As many requests as slots, or fewer: one batch, without a queue."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import sample_many
from jax_stepcache.requests import at_once, many
from jax_stepcache.requests.at_once import sampled_at_once
from jax_stepcache.requests.many import check_many

from ..jaxprs import primitives_of
from ..staged import WEIGHTS
from .drawn import SHARED, alone, assert_alike, drawn


def traced(cache: str, steps: list[int]) -> Any:
    """The program for requests of so many steps each."""
    requests = [
        {**drawn(cache, i), "num_inference_steps": count}
        for i, count in enumerate(steps)
    ]
    checked = check_many(WEIGHTS, requests, slots=len(steps), cache=cache, **SHARED)
    plan, entries = checked.admission.plan, checked.entries
    axes = at_once.axes_of(plan, WEIGHTS, entries[0])
    batch = at_once.batch_of(plan, WEIGHTS, axes, entries)
    alike = at_once.are_alike(plan, entries)
    count = np.int32(len(entries))
    return sampled_at_once.trace(plan, axes, alike, WEIGHTS, batch, count)


@pytest.mark.parametrize("cache", ["step_cache", "cache_dit", "none"])
@pytest.mark.parametrize("count", [3, 4])
def test_each_is_sampled_as_if_alone(
    cache: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: decisions and output of `sample`; steps differ, and a slot may be idle."""
    monkeypatch.delattr(many, "advance")  # Nothing waits, so there is no queue.
    seeds = range(7, 7 + count)
    requests = [drawn(cache, seed) for seed in seeds]
    results = sample_many(WEIGHTS, requests, cache=cache, slots=4, **SHARED)
    for i, (seed, result) in enumerate(zip(seeds, results, strict=True)):
        assert_alike(result, alone(cache, seed), (cache, seed))
        assert result.stats.batching.slot == i


def test_a_gpus_host_asks_little() -> None:
    """Rule: where each call takes each slot one step, a loop of known length; where
    slots walk on, loops over calls and over walks, the latter behind the network and
    before it; no other, whatever the number of requests."""
    assert primitives_of(traced("cache_dit", [8, 8]).jaxpr)["while"] == 0
    assert primitives_of(traced("cache_dit", [8, 4]).jaxpr)["while"] == 1
    assert primitives_of(traced("step_cache", [8, 8]).jaxpr)["while"] == 3
    # A policy that always runs says so before anything is traced.
    assert primitives_of(traced("none", [8, 8]).jaxpr)["while"] == 1


def test_conditions_that_are_prepared_are_laid_out_once() -> None:
    """Rule: the first rows of all requests, then their second ones; arrays that all
    share are there once."""
    rows = {"a": np.arange(12.0).reshape(3, 2, 2), "b": np.arange(3.0)}
    found = jax.tree.map(np.asarray, at_once.rows_side_by_side(rows, (0, None)))
    wanted = [[0, 1], [4, 5], [8, 9], [2, 3], [6, 7], [10, 11]]
    np.testing.assert_array_equal(found["a"], wanted)
    assert found["b"] == 0
