"""Experts that wait on the host: the numbers of both in memory, swapped once."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache import Params, sample
from jax_stepcache.models.wan import WanPipeline
from jax_stepcache.models.wan.offloading import offloaded, parts_of
from jax_stepcache.models.wan.sizes import RELEASES
from jax_stepcache.models.wan.tiny import write_tiny
from jax_stepcache.sampling import sample_by_experts

from . import small
from .cheap import encoders_of, pipeline_of, weights_of


@pytest.fixture(scope="module")
def both() -> WanPipeline:
    """A pipeline with both experts on the device, which differ."""
    pipeline = pipeline_of("t2v-a14b")
    weights = weights_of("t2v-a14b")
    pipeline.params.weights["low"] = jax.tree.map(lambda x: x * 0.9, weights)
    return pipeline


def _waiting(both: WanPipeline) -> WanPipeline:
    params, places = offloaded(both.params)
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(params.weights))
    encoders, scheduler = encoders_of("t2v-a14b"), both.scheduler
    return WanPipeline(params, encoders, scheduler=scheduler, places=places)


@pytest.fixture(scope="module")
def params() -> Params:
    """Drawn before anything is compiled in full, which takes long."""
    return small.params(small.TWO)


@pytest.mark.slow
def test_one_loop_in_two_parts(params: Params, full_compilation: None) -> None:
    """Rule: steps, decisions and numbers are those of one loop, to the last bit, what
    the cache knows of the first expert's steps included."""
    del full_compilation
    host, places = offloaded(params)
    asked = {
        "observation": small.text(1),
        "noise": small.noise(1),
        "cache": "static",
        "cache_config": {"steps_mask": [1, 1, 1, 0, 0, 1, 0, 1], "forecast": "linear"},
        "num_inference_steps": 8,
    }
    same = sample(params, **asked)
    bring = functools.partial(places.bring, host)
    parted = sample_by_experts(host, bring, **asked)
    np.testing.assert_array_equal(parted.stats.computed, same.stats.computed)
    np.testing.assert_array_equal(parted.stats.signal, same.stats.signal)
    np.testing.assert_array_equal(parted.sample, same.sample)


@pytest.mark.slow
@pytest.mark.usefixtures("full_compilation")
@pytest.mark.parametrize("cache", ["tea_cache", "cache_dit"])
def test_a_film_is_the_same(both: WanPipeline, cache: str) -> None:
    """Rule: the loop in two parts takes the steps, the decisions and the numbers of
    one loop, and each expert is put on the device once."""
    waiting, brought = _waiting(both), []
    places = waiting.places
    assert places is not None

    class Watched(type(places)):
        def bring(self, params, name):
            brought.append(name)
            return super().bring(params, name)

    waiting.places = Watched(places.shardings)
    asked = {"num_inference_steps": 8, "cache": cache, "seed": 2}
    film, same = waiting("a cat", **asked), both("a cat", **asked)
    assert brought == ["high", "low"]
    np.testing.assert_array_equal(film.stats.computed, same.stats.computed)
    np.testing.assert_array_equal(film.stats.signal, same.stats.signal)
    np.testing.assert_array_equal(film.latents, same.latents)
    np.testing.assert_array_equal(film.frames, same.frames)


def test_what_needs_both_at_a_time_is_refused(both: WanPipeline) -> None:
    """Before anything is encoded or sent."""
    with pytest.raises(ValueError, match="may ask both at a time"):
        _waiting(both)("a cat", decide="sample")


def test_what_may_wait() -> None:
    """True is what is large; names are checked, and experts need a release of two."""
    two, one = RELEASES["wan2.2-i2v-a14b"], RELEASES["wan2.2-ti2v-5b"]
    assert parts_of(True, two) == (("text_encoder",), True)
    assert parts_of(True, one) == (("text_encoder",), False)
    assert parts_of("experts", two) == ((), True)
    assert parts_of(False, two) == ((), False)
    with pytest.raises(ValueError, match="one transformer, which every step needs"):
        parts_of("experts", one)
    with pytest.raises(ValueError, match="'experts'"):
        parts_of("expert", two)


@pytest.mark.slow
def test_a_folder_whose_experts_wait(tmp_path: Path) -> None:
    """Loaded one after the other; the film is that of both in memory, of a film that is
    changed as well."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("ftfy")
    pytest.importorskip("PIL")
    folder = write_tiny(tmp_path / "wan", "t2v-a14b")
    asked = {
        "height": 32,
        "width": 32,
        "num_frames": 5,
        "num_inference_steps": 4,
        "video": np.full((5, 32, 32, 3), 90, np.uint8),
        "strength": 1.0,
    }
    film = WanPipeline.from_folder(folder)("a cat", **asked)
    waiting = WanPipeline.from_folder(folder, offload=True)
    leaves = jax.tree.leaves(waiting.params.weights)
    assert leaves
    assert all(isinstance(x, np.ndarray) for x in leaves)
    same = waiting("a cat", **asked)
    np.testing.assert_allclose(same.latents, film.latents, atol=1e-5)
    assert np.abs(same.frames.astype(int) - film.frames).max() <= 1
