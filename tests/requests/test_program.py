"""The compiled program: one for all requests of the same shapes, linear in slots."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import sample, sample_many
from jax_stepcache.requests.admission import admission_for
from jax_stepcache.requests.compiled import advance, empty_state
from jax_stepcache.requests.many import NO_LIMIT
from jax_stepcache.requests.request import Request, resolve_request
from jax_stepcache.solvers.schedule import flow_schedule

from ..jaxprs import primitives_of
from ..staged import TRACED, UNROLLED, WEIGHTS, conditions, noise
from .drawn import SHARED, drawn

CACHES = ["step_cache", "cache_dit"]


def program(cache: str, slots: int = 4, places: int = 8, tokens: int = 4) -> Any:
    """The chunk, lowered for requests with so many tokens."""
    draw = np.random.default_rng(0).normal
    request = Request(
        noise=draw(size=(1, tokens, 3)).astype(np.float32),
        condition=draw(size=(1, 8)).astype(np.float32),
    )
    options = {**SHARED, "cache": cache, "num_inference_steps": 8}
    checked = resolve_request(WEIGHTS, options, request)
    admission = admission_for(options, [checked], slots, None)
    plan = admission.plan
    state = jax.eval_shape(
        lambda weights, entry: empty_state(plan, weights, entry, places),
        WEIGHTS,
        admission.entry(checked),
    )
    return advance.trace(
        plan,
        WEIGHTS,
        state,
        np.arange(places, dtype=np.int32),
        np.int32(places),
        np.zeros(places, bool),
        NO_LIMIT,
    )


@pytest.mark.parametrize("cache", CACHES)
def test_other_requests_run_the_same_program(cache: str) -> None:
    """Conditions, noise, steps, schedules, thresholds, scales: data, all of them.

    Neither does it matter where a request's arrays are from.
    """

    def run(seeds: range, where: Any = None) -> None:
        options = {"slots": 2, "max_inference_steps": 8, "cache": cache}
        requests = [drawn(cache, seed) for seed in seeds]
        requests[0]["shift"] = 1.0 + seeds.start
        requests[0]["guidance_scale"] = 3.0
        requests[0]["negative_condition"] = np.ones((1, 8), np.float32)
        if where is not None:
            requests[1]["noise"] = jax.device_put(requests[1]["noise"], where)
        sample_many(WEIGHTS, requests, **options, **SHARED)

    run(range(5))
    compiled = advance._cache_size()
    run(range(5, 13))
    run(range(13, 19), where=jax.devices()[0])
    assert advance._cache_size() == compiled


def test_another_batch_runs_the_same_program() -> None:
    """decide="sample": thresholds, scale and noise are data."""

    def run(threshold: float) -> None:
        sample(
            WEIGHTS,
            noise=noise() * threshold,
            condition=conditions()[0],
            num_inference_steps=8,
            decide="sample",
            cache="cache_dit",
            cache_config={"residual_diff_threshold": threshold},
            **SHARED,
        )

    run(0.1)
    traced = TRACED.traces
    run(0.3)
    assert TRACED.traces == traced


@pytest.mark.parametrize("cache", CACHES)
def test_there_is_no_host_callback_and_one_call_site(cache: str) -> None:
    """The loop stays on the device; the network is there once, the span by bucket."""
    found = primitives_of(program(cache).jaxpr)
    assert not any("callback" in name for name in found)
    # The network's matrix products: one in, one a block, one out.
    embed_and_head, blocks = 2, UNROLLED.num_blocks
    buckets = 3
    wanted = {
        "step_cache": embed_and_head + blocks,
        # One block before the span, which is there once for each bucket.
        "cache_dit": embed_and_head + 1 + buckets * (blocks - 1),
    }
    assert found["dot_general"] == wanted[cache]


@pytest.mark.slow
@pytest.mark.usefixtures("full_compilation")
@pytest.mark.parametrize("cache", CACHES)
def test_memory_is_linear_in_slots(cache: str) -> None:
    """Four times the slots, four times the memory, however many requests there are."""

    def temporary(slots: int, places: int) -> int:
        compiled = program(cache, slots, places, tokens=4096).lower().compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(slots=16, places=64) <= 4.4 * temporary(slots=4, places=16)


def test_schedules_are_data_only_up_to_the_longest() -> None:
    """A request with more steps than max_inference_steps is an error that says so."""
    request = {
        "noise": noise(1),
        "condition": conditions(1)[0],
        "schedule": flow_schedule(9),
    }
    with pytest.raises(ValueError, match=r"requests\[0\].*9 steps.*is 8"):
        sample_many(WEIGHTS, [request], max_inference_steps=8, **SHARED)
