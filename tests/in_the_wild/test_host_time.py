"""What keeps the host's part of a call short, and a skipped step cheap."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jax_stepcache import Request, load_params, sample, sample_many, sampling, serve
from jax_stepcache.requests import admission, many
from jax_stepcache.requests.together import MOST, group_size, groups
from jax_stepcache.serving import stream

from ..requests.drawn import SHARED, drawn
from ..staged import WEIGHTS
from .hlo import copied_at_a_skipped_step

COUNT = 2 * MOST + 6


class Calls:
    """Counts calls of compiled functions and transfers, where they are looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.counts: Counter[str] = Counter()

    def watch(self, module: Any, *names: str) -> None:
        """Counts those of a module."""
        for name in names:
            self.monkeypatch.setattr(module, name, self._counted(module, name))

    def _counted(self, module: Any, name: str) -> Any:
        own = getattr(module, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.counts[name] += 1
            return own(*args, **options)

        return counted


@pytest.mark.slow
def test_requests_share_compiled_calls_and_one_transfer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noise, places and results: a call for every 32 requests; statistics come once."""
    params = load_params("dit")
    keys = jax.random.split(jax.random.key(0), COUNT)
    requests = [Request(observation={"label": np.array([3])}, key=key) for key in keys]
    calls = Calls(monkeypatch)
    calls.watch(many, "advance", "opened_state", "put", "taken_out")
    calls.watch(admission, "_draw")
    calls.watch(many.jax, "device_get")
    results = sample_many(
        params, requests, num_inference_steps=2, solver="euler", guidance_scale=1.0
    )
    assert len(results) == COUNT
    assert calls.counts == {
        "advance": 1,
        "opened_state": 1,
        "put": 3,
        "taken_out": 3,
        "_draw": 3,
        "device_get": 1,
    }


@pytest.mark.slow
def test_a_group_holds_what_is_sampled_alone() -> None:
    """At the ends of groups, and where the last reaches back into the one before it.

    Requests bring arrays of the host and of a device, thresholds too.
    """
    given = [drawn("tea_cache", seed) for seed in range(MOST + 3)]
    for one in given[::3]:
        one["noise"] = jnp.asarray(one["noise"])
        (name,) = one["cache_config"]
        one["cache_config"] = {name: jnp.asarray(one["cache_config"][name])}
    shared = {**SHARED, "cache": "tea_cache"}
    results = sample_many(WEIGHTS, given, slots=4, **shared)
    for i in (0, 1, 3, MOST - 1, MOST, MOST + 2):
        alone = sample(WEIGHTS, **given[i], **shared)
        np.testing.assert_array_equal(results[i].stats.computed, alone.stats.computed)
        np.testing.assert_allclose(results[i].sample, alone.sample, atol=1e-5)


@given(st.integers(1, 300), st.integers(1, 64))
def test_groups_of_one_size_hold_everything(count: int, size: int) -> None:
    """Each item is where its group says, and groups that are full hold no item else."""
    items = list(range(count))
    found = {}
    for start, some in groups(items, size):
        assert len(some) == size
        assert 0 <= start <= max(count - size, 0)
        found.update(enumerate(some[: count - start], start))
        assert set(some[count - start :]) <= {count - 1}
    assert found == dict(enumerate(items))
    assert group_size(count) <= MOST


def test_what_a_chunk_has_finished_is_fetched_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A report and all results: two transfers, however many requests are done."""
    requests = [{**drawn("none", seed), "num_inference_steps": 4} for seed in range(6)]
    for one in requests:
        one.pop("shift")
    streamed = serve(
        WEIGHTS, example=requests[0], slots=6, capacity=6, calls_per_chunk=100, **SHARED
    )
    for request in requests:
        streamed.submit(request)
    calls = Calls(monkeypatch)
    calls.watch(stream, "advance")
    calls.watch(stream.jax, "device_get")
    assert len(streamed.step()) == len(requests)
    assert calls.counts == {"advance": 1, "device_get": 2}


LAYERS, WIDTH, TOKENS, CHANNELS = 3, 48, 16, 4


def _deep(weights: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
    """A network whose weights, each by itself, are larger than a sample."""
    del condition
    hidden = (x + 1e-3 * t[:, None, None]) @ weights["in"]

    def block(hidden: jax.Array, layer: jax.Array) -> tuple[jax.Array, None]:
        return hidden + jnp.tanh(hidden @ layer), None

    hidden = jax.lax.scan(block, hidden, weights["stacked"])[0]
    for layer in weights["layers"]:
        # As PyTorch keeps them: [out, in].
        hidden = hidden + jnp.tanh(hidden @ layer.T)
    return hidden @ weights["in"].T


def _compiled(**cache: Any) -> str:
    """The sampler's optimized program, of a cache around the network."""
    struct = jax.ShapeDtypeStruct
    layer = struct((WIDTH, WIDTH), jnp.float32)
    weights = {
        "in": struct((CHANNELS, WIDTH), jnp.float32),
        "stacked": struct((LAYERS, *layer.shape), jnp.float32),
        "layers": [layer] * LAYERS,
    }

    def run(weights: Any, noise: jax.Array) -> Any:
        return sample(weights, model=_deep, noise=noise, **cache)

    noise = struct((1, TOKENS, CHANNELS), jnp.float32)
    return jax.jit(run).lower(weights, noise).compile().as_text()


@pytest.mark.usefixtures("full_compilation")
@pytest.mark.parametrize("forecast", ["hold", "linear"])
def test_a_skipped_step_copies_no_weights(forecast: str) -> None:
    """Nor the tokens: at most its own samples, a few of them, and numbers."""
    copied = copied_at_a_skipped_step(_compiled(cache="step_cache", forecast=forecast))
    one = TOKENS * CHANNELS * 4
    assert max(copied) <= one
    # What the solver and the cache remember is moved on by a place.
    assert sum(size == one for size in copied) <= 9


def test_copies_are_found() -> None:
    """The reader of programs sees a large array that a skipped step copies."""

    def run(large: jax.Array) -> Any:
        def step(carry: Any) -> Any:
            i, held, last = carry
            # What is held is handed out twice, so one of them must be a copy.
            held, last = jax.lax.cond(
                (last[0, 0] > i) & (i > 2),
                lambda x: (x + 1, x * 2),
                lambda x: (x, x),
                held,
            )
            return i + 1, held, last

        return jax.lax.while_loop(lambda c: c[0] < 8, step, (0, large, large))

    large = jnp.ones((64, 64))
    hlo = jax.jit(run).lower(large).compile().as_text()
    assert max(copied_at_a_skipped_step(hlo)) == large.nbytes


def _scaled(weights: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
    del t, condition
    return x * weights["scale"].mean()


def test_large_weights_of_the_host_are_not_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy of all weights at every call takes as long as many skipped steps.

    The call waits for its result instead: the caller may write into them afterwards.
    """
    ran, waited = [], []

    def run(decide: str, given: Any) -> Any:
        ran.append(given.weights["scale"])
        return really(decide, given)

    def wait(result: Any) -> Any:
        waited.append(result)
        return really_wait(result)

    really, really_wait = sampling._run, jax.block_until_ready
    monkeypatch.setattr(sampling, "_run", run)
    monkeypatch.setattr(jax, "block_until_ready", wait)
    large, small = np.full(1 << 18, 0.5, np.float32), np.full(8, 0.5, np.float32)
    noise = np.ones((1, 4), np.float32)
    options: dict[str, Any] = {"noise": noise, "model": _scaled}
    results = [sample({"scale": x}, **options) for x in (large, small)]
    assert [np.shares_memory(x, large) for x in ran] == [True, False]
    assert not np.shares_memory(ran[1], small)
    assert len(waited) == 1
    large[:], small[:] = np.nan, np.nan
    np.testing.assert_array_equal(results[0].sample, results[1].sample)


def test_a_trace_keeps_large_weights_of_its_own() -> None:
    """What is traced may be compiled when the caller's array is another's already."""
    large = np.full(1 << 18, 0.5, np.float32)
    noise = np.ones((1, 4), np.float32)

    def run() -> Any:
        return sample({"scale": large}, noise=noise, model=_scaled).sample

    wanted = run()
    traced = jax.jit(run).trace()
    large[:] = np.nan
    np.testing.assert_allclose(traced.lower().compile()(), wanted, rtol=1e-6)
