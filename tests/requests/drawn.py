"""Random requests to the small network in stages, and what `sample` gives for each."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from jax_stepcache import SampleResult, sample

from ..staged import RATIOS, UNROLLED, WEIGHTS

STEPS = (4, 8)
# Of each cache: the setting that requests differ in, its range, and the others.
SETTINGS: dict[str, tuple[str | None, tuple[float, float], dict[str, Any]]] = {
    "none": (None, (0, 0), {}),
    "step_cache": ("velocity_sim_thresholds", (0.6, 0.99), {}),
    "static": ("steps_mask", (0.2, 0.8), {}),
    "tea_cache": ("rel_l1_thresh", (0.05, 0.6), {}),
    "cache_dit": (
        "residual_diff_threshold",
        (0.05, 0.5),
        # Blocks on both sides of the span, and a fresh start on the way.
        {
            "max_warmup_steps": 2,
            "Bn_compute_blocks": 1,
            "force_refresh_step_hint": 5,
        },
    ),
    "db_prune": (
        "residual_diff_threshold",
        (0.05, 0.5),
        {"max_warmup_steps": 2, "enable_dynamic_prune_threshold": True},
    ),
    "mag_cache": ("mag_threshold", (0.02, 0.4), {"mag_ratios": RATIOS}),
    "sea_cache": ("sea_threshold", (0.1, 1.0), {}),
    "first_block_cache": ("threshold", (0.02, 0.4), {}),
    "easy_cache": ("thresh", (0.05, 0.6), {"ret_steps": 2}),
    "di_cache": ("rel_l1_thresh", (0.05, 0.6), {"ret_ratio": 0.1}),
    "taylor_seer": ("cache_interval", (1, 5), {"disable_cache_before_step": 2}),
}
SHARED: dict[str, Any] = {"model": UNROLLED, "solver": "unipc"}


def drawn(cache: str, seed: int) -> dict[str, Any]:
    """A request: condition, noise, steps, shift, guidance scale, and the setting."""
    draw = np.random.default_rng(seed)
    steps = int(draw.choice(STEPS))
    scale = float(draw.choice([1.0, 2.0, 4.5]))

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    # Some conditions push the network harder than others: easy and hard requests.
    request = {
        "noise": normal(1, 4, 3),
        "condition": normal(1, 8) * np.float32(draw.uniform(0.1, 3)),
        "num_inference_steps": steps,
        # Tied to the steps: each schedule is a program of `sample`.
        "shift": {4: 5.0, 8: 1.0}[steps],
        "guidance_scale": scale,
    }
    if scale != 1:
        request["negative_condition"] = normal(1, 8)
    return request | _settings(cache, draw, steps)


def _settings(cache: str, draw: np.random.Generator, steps: int) -> dict[str, Any]:
    name, between, others = SETTINGS[cache]
    if name is None:
        return {}
    value: Any = float(draw.uniform(*between))
    if cache == "step_cache":
        value = (value, value / 2)
    if cache == "static":
        value = [True, *(draw.random(steps - 1) < value)]
    if cache == "taylor_seer":
        value = int(value)
    return {"cache_config": {name: value, **others}}


@functools.cache
def alone(cache: str, seed: int) -> SampleResult:
    """What `sample` gives for it."""
    return jax.device_get(sample(WEIGHTS, cache=cache, **SHARED, **drawn(cache, seed)))


def assert_alike(result: SampleResult, wanted: SampleResult, what: Any) -> None:
    """The decisions are those of sampling alone, and the sample is to 1e-5."""
    given, alone = result.stats, wanted.stats
    # NumPy's own assertions take longer than sampling.
    assert np.array_equal(given.computed, alone.computed), what
    assert given.model_calls == alone.model_calls, what
    assert (given.branches is None) == (alone.branches is None), what
    if given.branches is not None and alone.branches is not None:
        assert np.array_equal(given.branches.computed, alone.branches.computed), what
    for ours, theirs in (
        (given.signal, alone.signal),
        (given.threshold, alone.threshold),
    ):
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True), what
    assert np.allclose(result.sample, wanted.sample, rtol=1e-5, atol=1e-5), what
