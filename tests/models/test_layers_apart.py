"""Weights of blocks stacked, or an array a layer: the same numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, load_params, sample, sample_many, save_params
from jax_stepcache.checkpoints.layers import (
    Layers,
    are_apart,
    layers_apart,
    layers_together,
    taken_apart,
)
from jax_stepcache.checkpoints.weights import load_weights, save_weights
from jax_stepcache.models.dreamzero import (
    DreamZeroPipeline,
    split_sessions,
    stack_sessions,
)
from jax_stepcache.models.dreamzero.control import programs
from jax_stepcache.models.dreamzero.session.observation import complete
from jax_stepcache.models.dreamzero.session.session import session_struct
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    finetune,
    save_chunks,
)

from .dreamzero.robots import PARAMS, observation, prompts, walk
from .dreamzero.training.sequences import random_chunks

APART = Params(layers_apart(PARAMS.weights), PARAMS.model)


def close(one: Any, other: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


def pipeline(params: Params) -> DreamZeroPipeline:
    return DreamZeroPipeline(params, cache_backend="step_cache")


def test_back_and_forth() -> None:
    """Rule: nothing but the layers of blocks is taken apart, and bits stay bits."""
    weights = APART.weights
    assert are_apart(weights["blocks"])
    assert not are_apart({k: v for k, v in weights.items() if k != "blocks"})
    jax.tree.map(
        np.testing.assert_array_equal, layers_together(weights), PARAMS.weights
    )
    kept = {"blocks": {"w": jnp.arange(6.0).reshape(3, 2)}, "head": jnp.ones(2)}
    stacked = kept["blocks"]["w"]
    found = layers_apart(kept, consume=True)
    assert stacked.is_deleted()
    np.testing.assert_array_equal(
        np.stack(found["blocks"]["w"]), [[0, 1], [2, 3], [4, 5]]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "cache"),
    [
        ("dit", "tea_cache"),
        pytest.param("tabletop", "cache_dit", marks=pytest.mark.slow),
        pytest.param("tabletop", None, marks=pytest.mark.slow),
    ],
)
def test_bundled_models_sample_the_same(model: str, cache: str | None) -> None:
    """Rule: decisions and samples do not hang on it, inside the network or around."""
    stacked, apart = (load_params(model, layers=x) for x in ("stacked", "apart"))
    assert are_apart(apart.weights)
    assert not are_apart(stacked.weights)
    asked = {"cache": cache, "num_inference_steps": 4}
    if cache == "tea_cache":
        asked["cache_config"] = {"coefficients": [0, 0, 0, 1, 0]}
    one, other = (sample(x, **asked) for x in (stacked, apart))
    close(one.sample, other.sample)
    np.testing.assert_array_equal(one.stats.computed, other.stats.computed)


@pytest.mark.slow
def test_requests_sample_the_same() -> None:
    """Rule: likewise in slots."""
    requests = [{"key": jax.random.key(i)} for i in range(3)]
    asked = {"cache": "step_cache", "num_inference_steps": 4}
    both = [
        sample_many(load_params("dit", layers=x), requests, **asked)
        for x in ("stacked", "apart")
    ]
    for one, other in zip(*both, strict=True):
        close(one.sample, other.sample)


@pytest.mark.slow
def test_a_robot_walks_the_same() -> None:
    """Rule: sessions keep keys and values as the weights are, through windows."""
    steps = []
    for params in (PARAMS, APART):
        pipe = pipeline(params)
        session = walk(pipe, pipe.start(*prompts(2)), [0, 1, 2])
        assert are_apart(session.cache.k) == (params is APART)
        assert are_apart(session.context) == (params is APART)
        steps.append(pipe(session, observation(2, 3)))
    close(steps[0][1:3], steps[1][1:3])
    np.testing.assert_array_equal(steps[0].stats.computed, steps[1].stats.computed)


@pytest.mark.slow
def test_sessions_side_by_side() -> None:
    """Rule: put together and taken apart, rows are rows."""
    pipe = pipeline(APART)
    whole = walk(pipe, pipe.start(*prompts(2)), [0])
    ones = split_sessions(whole)
    again = stack_sessions(ones)
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    steps = pipe.step_many(
        ones, [{k: x[i : i + 1] for k, x in observation(2, 1).items()} for i in (0, 1)]
    )
    together = pipe(whole, observation(2, 1), decide="sample")
    for i, step in enumerate(steps):
        close(step.video[0], together.video[i])


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [(PARAMS, APART), (APART, PARAMS)])
def test_a_session_is_read_by_the_other(
    one: Params, other: Params, tmp_path: Path
) -> None:
    """Rule: files are stacked, whichever way a session is kept."""
    first, second = pipeline(one), pipeline(other)
    session = walk(first, first.start(*prompts(1)), [0])
    first.save_session(tmp_path / "session", session)
    read = second.load_session(tmp_path / "session")
    assert are_apart(read) == (other is APART)
    wanted = first(session, observation(1, 1))
    close(second(read, observation(1, 1)).action, wanted.action)


@pytest.mark.slow
def test_checkpoints_are_stacked(tmp_path: Path) -> None:
    """Rule: a folder and a file serve both, whichever was saved."""
    save_params(tmp_path / "folder", APART)
    for layers in ("stacked", "apart"):
        found = load_params(tmp_path / "folder", layers=layers)
        assert are_apart(found.weights) == (layers == "apart")
        together = layers_together(found.weights)
        jax.tree.map(np.testing.assert_array_equal, together, PARAMS.weights)
    save_weights(tmp_path / "file", APART.weights, {})
    weights, _ = load_weights(tmp_path / "file")
    jax.tree.map(np.testing.assert_array_equal, weights, PARAMS.weights)


def test_another_way_to_keep_layers_is_refused() -> None:
    """Rule: a typo is told before anything is read."""
    with pytest.raises(ValueError, match=r"unknown layers 'apar'.*'apart'"):
        load_params("dit", layers="apar")


def test_a_cpu_has_them_stacked() -> None:
    """Rule: unless told, layers are apart on GPUs alone."""
    assert not are_apart(load_params("dit").weights)


def test_observing_writes_in_place() -> None:
    """Rule: no copy of the KV cache is made, neither to write into it nor to begin."""
    # A window that is long beside what a step computes.
    size = replace(PARAMS.model.dit, max_chunk_size=512)
    model = replace(PARAMS.model, dit=size)
    session = session_struct(model.size, 1, True, True)
    shown = {name: x for name, x in observation(1, 0).items() if name != "y"}
    shown["y"] = np.zeros((1, size.y_dim, size.window, 4, 4), np.float32)
    weights = {**PARAMS.weights, "blocks": taken_apart(PARAMS.weights["blocks"])}
    program = programs.observe_in_place.lower(
        model,
        None,
        weights,
        session,
        complete(model.size, np.zeros(1, np.int32), shown),
        jax.random.key(0),
    ).compile()
    cached = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(session.cache[:2]))
    assert isinstance(session.cache.k, Layers)
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= cached
    # The attention's own copy of one layer's keys and values, beside what is small.
    assert memory.temp_size_in_bytes < cached / 2 + 2**20, memory


@pytest.mark.slow
def test_fine_tuning_takes_either(tmp_path: Path) -> None:
    """Rule: training has them stacked, whichever way they come."""
    save_chunks(tmp_path / "data", random_chunks(PARAMS.model, 2))
    settings = FinetuneSettings(steps=2, batch=2, lora=1)
    tuned = [
        finetune(params, tmp_path / "data", tmp_path / name, settings).weights
        for name, params in (("stacked", PARAMS), ("apart", APART))
    ]
    jax.tree.map(np.testing.assert_array_equal, *tuned)
