"""Each request gets what it would get alone, whoever else is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_stepcache import sample_many

from ..staged import WEIGHTS
from .drawn import SETTINGS, SHARED, STEPS, alone, assert_alike, drawn

REQUESTS = 256
# Another number of slots is another program; both kinds of span are tried with two.
SLOTS = dict.fromkeys(SETTINGS, (5,)) | {"step_cache": (1, 8), "cache_dit": (3, 8)}


def assert_each_as_if_alone(cache: str, order: list[int], slots: int) -> None:
    """Samples the requests with these seeds together, and compares each."""
    results = sample_many(
        WEIGHTS,
        [drawn(cache, seed) for seed in order],
        cache=cache,
        slots=slots,
        max_inference_steps=max(STEPS),
        **SHARED,
    )
    for seed, result in zip(order, results, strict=True):
        assert_alike(result, alone(cache, seed), (cache, seed))
    ran = np.concatenate([result.stats.computed for result in results])
    assert ran.any()
    assert cache == "none" or not ran.all()


@pytest.mark.parametrize("cache", ["step_cache", "cache_dit"])
def test_a_few_requests_are_sampled_as_if_alone(cache: str) -> None:
    """Rule: decisions and output of `sample`; around the network and within."""
    order = np.random.default_rng(0).permutation(24).tolist()
    assert_each_as_if_alone(cache, order, slots=5)


@pytest.mark.slow
@pytest.mark.parametrize("cache", SETTINGS)
@given(data=st.data(), shuffle=st.integers(0, 2**32 - 1), more=st.integers(0, 900))
@settings(max_examples=2)
def test_requests_are_sampled_as_if_alone(
    cache: str, data: st.DataObject, shuffle: int, more: int
) -> None:
    """Rule: decisions and output of `sample`, whatever slots, order and companions."""
    # Hypothesis draws the companions, too: most requests, and other ones each time.
    draw = np.random.default_rng(shuffle)
    order = draw.permutation([*range(192), *range(192 + more, REQUESTS + more)])
    slots = data.draw(st.sampled_from(SLOTS[cache]))
    assert_each_as_if_alone(cache, order.tolist(), slots)
