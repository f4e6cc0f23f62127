"""What a pipeline of Wan makes of what it is asked, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache import Params, as_table, flow_schedule, summary
from jax_stepcache.models.wan import NEGATIVE_PROMPT, WanPipeline
from jax_stepcache.models.wan.asking import ask
from jax_stepcache.models.wan.observing import observed
from jax_stepcache.models.wan.prompt import negative_prompt

from .cheap import encoders_of, pipeline_of

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def words():
    """A pipeline of words alone, whose programs the tests here share."""
    return pipeline_of("t2v")


def test_a_film_is_what_the_release_says(words):
    """Size, frames and steps; it says how it was made."""
    film = words("a cat")
    assert film.frames.shape == (5, 32, 32, 3)
    assert film.frames.dtype == np.uint8
    assert film.latents.shape == (16, 2, 4, 4)
    assert film.stats.computed.shape == (4,)
    assert film.fps == 16
    assert "4 of 4 steps" in repr(film)
    assert "4" in str(summary(film))


@pytest.mark.slow
def test_several_prompts_are_each_alone(words):
    """A film of several has the noise and the words that it has by itself."""
    films = words(["a cat", "a dog"], seed=3)
    for i, prompt in enumerate(("a cat", "a dog")):
        alone = words(prompt, seed=3 + i)
        np.testing.assert_allclose(films[i].latents, alone.latents, atol=2e-5)
    assert np.abs(films[0].latents - films[1].latents).max() > 0.1


@pytest.mark.slow
def test_guidance_and_its_words(words):
    """Up to 1 there is none; the original's words unless others are given."""
    own = words("a cat", negative_prompt=NEGATIVE_PROMPT).latents
    np.testing.assert_array_equal(words("a cat").latents, own)
    other = words("a cat", negative_prompt="blurred").latents
    assert np.abs(other - own).max() > 1e-3
    plain = words("a cat", guidance_scale=1.0).latents
    np.testing.assert_array_equal(words("a cat", guidance_scale=0.0).latents, plain)
    assert negative_prompt("i2v", 1) == "镜头晃动，" + NEGATIVE_PROMPT
    assert negative_prompt("i2v", 2) == NEGATIVE_PROMPT


@pytest.mark.slow
def test_a_cache_of_the_pipeline_or_of_a_call(words):
    """A call's cache stands in place of the pipeline's."""
    mask = {"steps_mask": [1, 0, 1, 1]}
    film = words("a cat", cache="static", cache_config=mask)
    assert np.asarray(film.stats.computed).tolist() == [True, False, True, True]
    cached = pipeline_of("t2v", cache_backend="static", cache_config=mask)
    np.testing.assert_array_equal(cached("a cat").latents, film.latents)
    assert cached("a cat", cache="none").stats.computed.all()


@pytest.fixture(scope="module")
def table():
    """Three calls: the usual steps of as many, written as a table."""
    return as_table("unipc", flow_schedule(3, 5.0))


@pytest.mark.parametrize("given", ["cache", "schedule", "slots"])
def test_a_table_brings_levels_and_solver(given, table, words):
    """As a cache or as a schedule, of a film or of several through slots: in place of
    the release's."""
    same = words("a cat", schedule=flow_schedule(3, 5.0), solver="unipc")
    bespoke = {"cache": "bespoke", "cache_config": {"table": table}}
    if given == "slots":
        film, _ = words(["a cat", "a dog"], slots=2, **bespoke)
    else:
        film = words("a cat", **(bespoke if given == "cache" else {given: table}))
    assert film.stats.computed.shape == (3,)
    np.testing.assert_allclose(film.latents, same.latents, atol=1e-4)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"num_inference_steps": 4}, "num_inference_steps is 4, and a table brings"),
        ({"sigmas": "original"}, "sigmas are given, and a table has its own"),
        ({"solver": "euler"}, "solver is 'euler', and a table"),
    ],
)
def test_what_a_table_is_instead_of(beside, said, table, words):
    """Is told, where it is said beside it."""
    bespoke = {"cache": "bespoke", "cache_config": {"table": table}}
    with pytest.raises(ValueError, match=said):
        words("a cat", **bespoke, **beside)


@pytest.mark.slow
def test_a_video_is_changed_as_much_as_is_said(words):
    """The last steps alone; the more of them, the farther from the video."""
    video = np.broadcast_to(PICTURE, (5, *PICTURE.shape))
    said = {"video": video, "height": 32, "width": 32}
    film = words("a cat", strength=0.5, **said)
    assert film.stats.computed.shape == (2,)
    assert words("a cat", **said).stats.computed.shape == (3,)
    with pytest.raises(ValueError, match=r"strength is 0\.1: of 4 steps none is left"):
        words("a cat", strength=0.1, **said)
    with pytest.raises(ValueError, match="video has 5 frames; the film has 9"):
        words("a cat", num_frames=9, **said)


@pytest.mark.parametrize(
    ("options", "error", "words_"),
    [
        (
            {"num_frames": 6},
            ValueError,
            "multiple of 4, got 6; 5 and 9 are the nearest",
        ),
        ({"height": 40, "width": 32}, ValueError, "got 40 and 32; 32 and 32 are the"),
        ({"height": 32}, ValueError, "give height and width, or neither"),
        ({"height": 16, "width": 16400}, ValueError, "width is 16400; it may be at"),
        ({"video": "no.mp4"}, FileNotFoundError, "video: there is no film 'no.mp4'"),
        ({"image": PICTURE}, ValueError, "of words alone, so it takes no image"),
        ({"guidance_scale_2": 3.0}, ValueError, "is of the low-noise expert"),
        ({"negative_prompt": ["a", "b"]}, ValueError, "has 2 texts; there are 1"),
        ({"seed": 0.5}, TypeError, "seed is 0.5; give a whole number"),
        ({"sigmas": "original_unipc"}, ValueError, "unknown sigmas 'original_unipc'"),
        ({"schedule": "linear", "shift": 3.0}, ValueError, "schedule and shift are"),
        ({"seed": 2**40}, ValueError, r"seed is \d+; it must be at least 0 and below"),
        ({"seed": -1}, ValueError, "seed is -1; it must be at least 0"),
        ({"fit": "stretch"}, ValueError, "Did you mean 'stretched'"),
        ({"fit": "covered"}, ValueError, "there is none to fit: leave it out"),
        ({"strength": 0.5}, ValueError, "give video=, or --video FILE on the command"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps is 0"),
        ({"cache": "step_cash"}, ValueError, "Did you mean 'step_cache'"),
        ({"noise": np.zeros((1, 16, 2, 4, 6))}, ValueError, "noise"),
        ({"solvr": "euler"}, TypeError, "Did you mean 'solver'"),
        ({"steps": 3}, TypeError, "Did you mean 'num_inference_steps'"),
    ],
)
def test_what_does_not_fit(options, error, words_, words, monkeypatch):
    """Named before anything is encoded."""
    monkeypatch.setattr(type(words.encoders), "prompts", None)
    with pytest.raises(error, match=words_):
        words("a cat", **options)


@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        ([], ValueError, "prompt is empty"),
        (["a", 3], TypeError, r"prompt\[1\] is 3"),
        (7, TypeError, "prompt is 7; give a string"),
    ],
)
def test_prompts_that_are_none(prompt, error, said, words):
    """Told which."""
    with pytest.raises(error, match=said):
        words(prompt)


def test_parts_that_do_not_fit_each_other():
    """Another VAE, no CLIP where it is wanted, params of something else."""
    params = pipeline_of("t2v").params
    with pytest.raises(ValueError, match="the VAE's channels: 48; the transformer"):
        WanPipeline(params, encoders_of("ti2v"))
    with pytest.raises(TypeError, match="params must be those of a Wan, got dict"):
        WanPipeline({}, encoders_of("t2v"))
    with pytest.raises(TypeError, match="got Params of umt5"):
        WanPipeline(Params({}, encoders_of("t2v").text.model), encoders_of("t2v"))
    with pytest.raises(TypeError, match="encoders are dict"):
        WanPipeline(params, {})


def shown_of(pipeline, **given):
    """What the transformer is shown, and what the encoders were."""
    asked = ask(pipeline.model.release, pipeline.scheduler, "a cat", **given)
    return observed(pipeline.encoders, asked), pipeline.encoders.heard


def test_pictures_are_encoded_as_they_are_asked():
    """CLIP sees them whole, the VAE in the film's size, with grey between them."""
    pipeline = pipeline_of("flf2v")
    shown, heard = shown_of(pipeline, image=PICTURE, last_image=PICTURE)
    whole = ("features", (1, 3, 40, 60))
    # The picture's aspect and the release's area.
    assert heard == [("latents", (1, 3, 5, 16, 32)), whole, whole]
    assert shown["image"].shape == (1, 2 * 257, 32)
    assert shown["beside"].shape == (1, 20, 2, 2, 4)
    mask = np.asarray(shown["beside"])[0, :4, :, 0, 0]
    assert mask.tolist() == [[1, 0], [1, 0], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match="give image and last_image; got image"):
        pipeline("a cat", image=PICTURE)


def test_a_film_that_begins_with_a_picture():
    """TI2V is shown its latent, of one frame, and neither mask nor features."""
    size = {"image": PICTURE, "height": 64, "width": 96}
    shown, heard = shown_of(pipeline_of("ti2v"), **size)
    assert heard == [("latents", (1, 3, 1, 64, 96))]
    assert shown.keys() == {"text", "negative_text", "first"}
    assert shown["first"].shape == (1, 48, 1, 4, 6)


def test_both_experts_have_their_guidance():
    """The release's, or one for both, or each its own."""
    pipeline = pipeline_of("t2v-a14b")
    release = pipeline.model.release

    def scales(**given):
        asked = ask(release, pipeline.scheduler, "a cat", **given)
        return asked.guidance_scale, asked.guidance_scale_2

    assert scales() == (4.0, 3.0)
    assert scales(guidance_scale=5.0) == (5.0, 5.0)
    assert scales(guidance_scale=5.0, guidance_scale_2=2.0) == (5.0, 2.0)
    assert scales(guidance_scale_2=2.0) == (4.0, 2.0)
    # Up to 1 there is none, of either; below 0 is a mistake.
    assert scales(guidance_scale_2=0.5) == (4.0, 1.0)
    assert scales(guidance_scale=0.5) == (1.0, 1.0)
    for name in ("guidance_scale", "guidance_scale_2"):
        with pytest.raises(ValueError, match=f"{name} is -1; it must be at least 0"):
            scales(**{name: -1})
    with pytest.raises(ValueError, match="both experts have guidance, or neither"):
        scales(guidance_scale=1.0, guidance_scale_2=2.0)
