"""One buffer, filled again and again: what was handed in counts, not what it became."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Composed,
    Cosine,
    Hold,
    Request,
    Server,
    Tiers,
    compose,
    get_cache_backend,
    sample,
    sample_many,
    sampling,
    serve,
    static_schedule,
)
from jax_stepcache.calibration.samples import make_samples
from jax_stepcache.kept import kept
from jax_stepcache.models.dreamzero.control import programs

from ..models.dreamzero.robots import observation, pipeline, prompts

WEIGHTS = np.eye(3, dtype=np.float32) / 2
SHARED: dict[str, Any] = {"num_inference_steps": 4, "solver": "euler"}
FIRST = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
COUNT = 5


def network(weights: Any, x: Any, t: Any, condition: Any) -> Any:
    del t
    return jnp.tanh(x @ weights) + condition["told"]


def asked(noise: Any, told: Any) -> dict[str, Any]:
    return {"noise": noise, "condition": {"told": told}}


def wanted(number: int) -> np.ndarray:
    """What a request gets that is asked with arrays of its own."""
    request = asked(FIRST * number, np.full((1, 1, 3), number, np.float32))
    return np.asarray(sample(WEIGHTS, model=network, **request, **SHARED).sample)


class Buffers:
    """Filled for each request, and spoilt after it."""

    def __init__(self) -> None:
        self.noise = np.zeros_like(FIRST)
        self.told = np.zeros((1, 1, 3), np.float32)

    def request(self, number: int) -> dict[str, Any]:
        self.noise[...], self.told[...] = FIRST * number, number
        return asked(self.noise, self.told)

    def spoil(self) -> None:
        self.noise[...], self.told[...] = 77.0, np.nan

    def all(self) -> Iterator[dict[str, Any]]:
        for number in range(COUNT):
            yield self.request(number)
            self.spoil()


def opened(**more: Any) -> Any:
    settings = {"slots": 2, "capacity": COUNT, "calls_per_chunk": 1}
    example = asked(FIRST, np.ones((1, 1, 3), np.float32))
    options = {"model": network, "example": example} | SHARED | settings | more
    return serve(WEIGHTS, **options)


def by_submit(buffers: Buffers) -> list[Any]:
    stream = opened()
    for number in range(COUNT):
        stream.submit(buffers.request(number))
        buffers.spoil()
    return [outcome.unwrap() for outcome in sorted(stream, key=lambda one: one.ticket)]


def by_feed(buffers: Buffers) -> list[Any]:
    outcomes = sorted(opened().feed(buffers.all()), key=lambda one: one.ticket)
    return [outcome.unwrap() for outcome in outcomes]


def by_server(buffers: Buffers) -> list[Any]:
    futures = []
    with Server(opened()) as server:
        for number in range(COUNT):
            futures.append(server.submit(Request(**buffers.request(number))))
            buffers.spoil()
    return [future.result() for future in futures]


def by_many(buffers: Buffers) -> list[Any]:
    return sample_many(WEIGHTS, buffers.all(), slots=2, model=network, **SHARED)


@pytest.mark.parametrize("ask", [by_submit, by_feed, by_server, by_many])
def test_each_request_is_what_it_was(ask: Callable[[Buffers], list[Any]]) -> None:
    """Rule: who keeps an array beyond a call keeps one of its own."""
    for number, result in enumerate(ask(Buffers())):
        np.testing.assert_allclose(result.sample, wanted(number), atol=1e-5)


def test_a_stream_keeps_what_its_requests_share() -> None:
    """Weights, conditions, masks: a stream outlives what it was opened with."""
    weights, told = WEIGHTS.copy(), np.full((1, 1, 3), 2, np.float32)
    mask = np.array([True, False, True, True])
    stream = serve(
        weights,
        model=network,
        condition={"told": told},
        cache="static",
        cache_config={"steps_mask": mask},
        slots=2,
        **SHARED,
    )
    weights[...], told[...], mask[1] = np.nan, np.nan, True
    stream.submit({"noise": FIRST})
    (outcome,) = stream
    alone = sample(
        WEIGHTS,
        model=network,
        **asked(FIRST, np.full((1, 1, 3), 2, np.float32)),
        cache=static_schedule([True, False, True, True]),
        **SHARED,
    )
    np.testing.assert_allclose(outcome.unwrap().sample, alone.sample, atol=1e-5)
    assert outcome.unwrap().stats.computed.tolist() == [True, False, True, True]


def shared_with(tree: Any, buffers: list[np.ndarray]) -> list[str]:
    """Leaves that lie in the same memory."""
    return [
        jax.tree_util.keystr(path)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
        if isinstance(x, np.ndarray | jax.Array)
        and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        and any(np.shares_memory(np.asarray(x), buffer) for buffer in buffers)
    ]


def test_what_runs_has_no_memory_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`sample` returns before it has run, and a CPU reads NumPy's memory in place."""
    seen: list[Any] = []

    def run(decide: str, given: Any) -> Any:
        seen.append(given)
        return really(decide, given)

    really = sampling._run
    monkeypatch.setattr(sampling, "_run", run)
    told, noise, scale = np.ones((1, 1, 3), np.float32), FIRST.copy(), np.full(1, 2.0)
    weights, key = WEIGHTS.copy(), np.zeros(2, np.uint32)
    scale = scale.astype(np.float32)
    threshold = np.full(1, 0.5, np.float32)
    policy = Composed(Cosine(), Tiers(threshold, np.ones(1, np.int32)), Hold())
    sample(
        weights,
        model=network,
        noise=noise,
        key=key,
        condition={"told": told},
        negative_condition={"told": told},
        guidance_scale=scale,
        cache=policy,
        **SHARED,
    )
    buffers = [told, noise, scale, weights, key, threshold]
    assert len(jax.tree.leaves(seen)) > 5
    assert not shared_with(seen, buffers)


def test_policies_keep_their_numbers() -> None:
    """A threshold that a sweep writes into is another's, once a policy is made."""
    numbers, mask = np.full(1, 0.25, np.float32), np.array([True, False])
    config = {"velocity_sim_thresholds": numbers, "velocity_skip_countdowns": [1]}
    backend = get_cache_backend("step_cache", config)
    assert backend is not None
    made = [
        compose(signal=Cosine(), gate=Tiers(numbers, [1])),
        static_schedule(mask),
        backend.config.velocity_sim_thresholds,
    ]
    assert len(jax.tree.leaves(made)) >= 4
    assert not shared_with(made, [numbers, mask])


def test_calibration_keeps_its_samples_and_options() -> None:
    """What a calibration tells afterwards is what it has looked at."""
    noise, scale = FIRST.copy(), np.full(1, 2.0, np.float32)
    samples = make_samples(
        (), network, {"noise": noise}, None, {"guidance_scale": scale}
    )
    assert len(jax.tree.leaves(samples.batch)) == 2
    assert not shared_with([samples.batch, samples.sampler], [noise, scale])


def test_a_control_loop_may_fill_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's program reads what the robot saw, not what it sees next."""
    pipe = pipeline()
    text, negative = (np.array(x) for x in prompts(1))
    seen: list[Any] = []

    def started(*given: Any) -> Any:
        seen.append(given[3:])
        return start(*given)

    start = programs.start
    monkeypatch.setattr(programs, "start", started)
    session = pipe.start(text, negative)

    class ReadEnoughError(Exception):
        pass

    def observed(*given: Any) -> Any:
        seen.append(given[3:])
        raise ReadEnoughError

    monkeypatch.setattr(programs, "observe_in_place", observed)
    shown = {name: np.array(x) for name, x in observation(1, 0).items()}
    with pytest.raises(ReadEnoughError):
        pipe(session, shown)
    with pytest.raises(ReadEnoughError):
        pipe.step_many([session], [shown])
    assert len(seen) == 3
    assert not shared_with(seen, [text, negative, *shown.values()])


@hypothesis.given(
    st.recursive(
        st.sampled_from(["numpy", "view", "scalar", "jax", "number", "none", "text"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
        max_leaves=6,
    )
)
def test_only_numpy_is_copied(kinds: Any) -> None:
    """Values, structure and all else stay; JAX's arrays are the same objects."""
    base = np.arange(6, dtype=np.int16).reshape(2, 3)
    make: dict[str, Callable[[], Any]] = {
        "numpy": lambda: base,
        "view": lambda: base[:, ::2],
        "scalar": lambda: np.float32(3),
        "jax": lambda: ONE,
        "number": lambda: 2.5,
        "none": lambda: None,
        "text": lambda: "step_cache",
    }
    given = jax.tree.map(lambda kind: make[kind](), kinds)
    own = kept(given)
    assert jax.tree.structure(own) == jax.tree.structure(given)
    changes = False
    for ours, theirs in zip(jax.tree.leaves(own), jax.tree.leaves(given), strict=True):
        if isinstance(theirs, np.ndarray):
            changes = True
            assert not np.shares_memory(ours, theirs)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours is theirs
    assert changes or own is given


ONE = jnp.ones(2)
