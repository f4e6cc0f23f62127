"""Films through slots: each is what it is alone, whatever runs beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jax_stepcache.models.wan import WanPipeline

from .cheap import encoders_of, pipeline_of

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
ONE_TIER = {"velocity_sim_thresholds": [0.9], "velocity_skip_countdowns": [2]}
# Loose enough for a rounding of another batch size, and a thousandth of the films.
ALIKE = 3e-5


@pytest.fixture(scope="module")
def words() -> WanPipeline:
    """A pipeline of words alone, with a cache around the network."""
    return pipeline_of("t2v", cache_backend="step_cache")


def assert_as_alone(
    pipeline: WanPipeline, asked: list[Any], films: list[Any], **shared: Any
) -> None:
    """Each film has the decisions and the frames of a call of its own."""
    assert len(films) == len(asked)
    for seed, (said, film) in enumerate(zip(asked, films, strict=True)):
        own = {"prompt": said} if isinstance(said, str) else said
        alone = pipeline(**{"seed": seed, **shared, **own})
        computed = np.asarray(alone.stats.computed)
        np.testing.assert_array_equal(film.stats.computed, computed)
        np.testing.assert_allclose(film.latents, alone.latents, atol=ALIKE)
        assert np.abs(film.frames.astype(int) - alone.frames).max() <= 1


def test_prompts_through_slots(words: WanPipeline) -> None:
    """More prompts than slots: a list of films, each with statistics of its own."""
    said = ["a cat", "a dog", "a bird"]
    films = words(said, slots=2)
    assert_as_alone(words, said, films)
    assert all(film.stats.batching is not None for film in films)
    assert np.abs(films[0].latents - films[1].latents).max() > 0.1


@pytest.mark.slow
def test_films_that_differ_in_everything(words: WanPipeline) -> None:
    """Sizes, steps, guidance, settings, seeds and what they begin from: those of one
    size go together, and each is what it is alone."""
    asked: list[Any] = [
        {"prompt": "a cat", "height": 32, "width": 48},
        "a dog",
        {"prompt": "a bird", "guidance_scale": 1.0, "seed": 9},
        {"prompt": "a fish", "num_inference_steps": 6, "guidance_scale": 2.0},
        {"prompt": "a cow", "video": np.stack([PICTURE] * 5), "strength": 1.0},
        {"prompt": "a hen", "num_frames": 9, "negative_prompt": "blurred"},
        {"prompt": "a pig", "cache_config": {"velocity_sim_thresholds": [1.0, 0.999]}},
        {"prompt": "a cat", "shift": 3.0, "width": 48, "height": 32},
    ]
    shared = {"solver": "euler", "cache": "step_cache"}
    films = words.film_many(asked, slots=2, **shared)
    assert_as_alone(words, asked, films, **shared)


@pytest.mark.slow
def test_caches_inside_the_network_and_both_experts() -> None:
    """Each expert has its settings and its guidance for every film, and those of
    pictures their own."""
    pipeline = pipeline_of("i2v-a14b")
    asked: list[Any] = [
        {"prompt": "a cat", "image": PICTURE, "guidance_scale_2": 2.0},
        {"prompt": "a dog", "image": PICTURE[:, ::-1], "num_inference_steps": 8},
        {"prompt": "a bird", "image": PICTURE, "last_image": PICTURE[::-1]},
    ]
    shared = {
        "cache": "cache_dit",
        "cache_config": {
            "max_warmup_steps": 1,
            "high": {"residual_diff_threshold": 0.5},
            "low": {"residual_diff_threshold": 0.05},
        },
        "height": 32,
        "width": 32,
        "num_inference_steps": 6,
    }
    films = pipeline.film_many(asked, slots=2, **shared)
    assert_as_alone(pipeline, asked, films, **shared)
    assert not all(np.asarray(film.stats.computed).all() for film in films)


@pytest.mark.slow
def test_first_frames_are_each_ones_own() -> None:
    """Films that begin with a picture have it, and those of words have none."""
    pipeline = pipeline_of("ti2v")
    asked: list[Any] = [{"prompt": "a cat", "image": PICTURE}, "a dog"]
    size = {"height": 64, "width": 64}
    assert_as_alone(pipeline, asked, pipeline.film_many(asked, slots=4, **size), **size)


@pytest.mark.parametrize(
    ("films", "shared", "error", "said"),
    [
        (["a", {"prompt": "b", "height": 40, "width": 32}], {}, ValueError, "40 and"),
        (["a", {"prompt": "b", "image": PICTURE}], {}, ValueError, "takes no image"),
        (["a", 3], {}, TypeError, r"films\[1\]: a film is a prompt, or a mapping"),
        ([{"height": 32}], {}, TypeError, "a film's prompt is None; give a string"),
        ([{"prompt": ["a", "b"]}], {}, TypeError, r"film's prompt is \['a', 'b'\]"),
        ([{"prompt": "a", "cache": "tea_cache"}], {}, ValueError, "shared by all"),
        ([{"prompt": "a", "steps": 2}], {}, TypeError, "'num_inference_steps'"),
        (["a"], {"solvr": "euler"}, TypeError, "Did you mean 'solver'"),
        (["a"], {"slots": 0}, ValueError, "slots is 0"),
        (["a", "b"], {"seed": 2**31 - 1}, ValueError, "one more for each of 2 films"),
        (["a"], {"seed": "7"}, TypeError, "seed is '7'; give a whole number"),
        ("a cat", {}, TypeError, "films is 'a cat'; give prompts, or mappings"),
        (
            ["a", {"prompt": "b", "cache_config": ONE_TIER}],
            {"cache": "step_cache"},
            ValueError,
            r"films\[1\]: .*thresholds is float32\[1\]; other requests have",
        ),
    ],
)
def test_what_does_not_fit(
    films: Any, shared: Any, error: Any, said: str, words: WanPipeline, monkeypatch: Any
) -> None:
    """Named, with the film's index, before anything is encoded."""
    monkeypatch.setattr(type(words.encoders), "prompts", None)
    with pytest.raises(error, match=said):
        words.film_many(films, **shared)


def test_calls_by_slots_that_do_not_fit(words: WanPipeline) -> None:
    """What only a batch has, and what there is one of for each prompt."""
    with pytest.raises(ValueError, match="leave out progress= or slots="):
        words(["a", "b"], slots=2, progress=True)
    with pytest.raises(ValueError, match="has 3 texts; there are 2 prompts"):
        words(["a", "b"], slots=2, negative_prompt=["x", "y", "z"])
    with pytest.raises(ValueError, match=r"noise has shape \(1, .*there are 2 prompts"):
        words(["a", "b"], slots=2, noise=np.zeros((1, 16, 2, 4, 4), np.float32))
    assert words.film_many([]) == []


def test_experts_that_wait_are_not_asked_at_once() -> None:
    """Refused: slots are at steps of their own."""
    from jax_stepcache.models.wan.offloading import offloaded

    both = pipeline_of("t2v-a14b")
    params, places = offloaded(both.params)
    waiting = WanPipeline(params, encoders_of("t2v-a14b"), places=places)
    with pytest.raises(ValueError, match="films by slots may ask both experts"):
        waiting(["a", "b"], slots=2)
