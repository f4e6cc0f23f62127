"""The bundled film: what ships works, and is asked as any model."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import Request, sample, sample_many
from jax_stepcache.cli.main import main
from jax_stepcache.models import film
from jax_stepcache.models.film.quality import asked_in_turn, judge, sampled

KEY = jax.random.key(9)


@pytest.fixture(scope="module")
def params():
    return jax_stepcache.load_params("film")


def test_the_file_is_small_and_says_where_it_comes_from(params) -> None:
    """At most 4 MB, with the configuration, command and seed that made it."""
    assert film.WEIGHTS.stat().st_size <= 4_000_000
    account = json.loads(film.WEIGHTS.with_suffix(".json").read_text())
    assert account["command"].startswith("python -m jax_stepcache.models.film.train")
    assert film.model_from_config(account["config"]) == params.model
    assert account["settings"]["seed"] == 0
    assert params.model == film.FILM


def test_films_show_what_was_asked_for(params) -> None:
    """Read by who knows the world: by chance one of five would have its colour."""
    asked = asked_in_turn(80)[::5]
    films = sampled(params.weights, params.model, asked, seed=3)
    assert films.shape == (16, 8, 12, 12, 3)
    assert judge(films, asked).right >= 0.7


def test_a_prompt_without_words_is_what_guidance_leads_away_from(params) -> None:
    """Unless another is given, in the rows behind the conditional ones."""
    shown = {k: jax.numpy.asarray(x) for k, x in film.encode("a red circle").items()}
    model = params.model
    alone = model.prepare(params.weights, shown, True)
    said = {**shown, "negative_text": film.encode("")["text"]}
    jax.tree.map(
        np.testing.assert_array_equal, alone, model.prepare(params.weights, said, True)
    )
    other = {**shown, "negative_text": film.encode("green")["text"]}
    text = model.prepare(params.weights, other, True).contexts[0].text
    np.testing.assert_array_equal(text.k[:, 0], alone.contexts[0].text.k[:, 0])
    assert np.abs(text.k[:, 1] - alone.contexts[0].text.k[:, 1]).max() > 1e-3


def test_examples_say_a_word_of_each_kind(params) -> None:
    """As the training's films have them."""
    text = np.asarray(params.model.example(KEY, 50)["text"])
    places = text.argmax(axis=2)
    np.testing.assert_array_equal(text.max(axis=2), film.SAID)
    np.testing.assert_array_equal((text != 0).sum(axis=2), 1)
    kinds = [[film.VOCABULARY[i] for i in column] for column in places.T]
    for said, known in zip(
        kinds, (film.COLOURS, film.SHAPES, film.DIRECTIONS), strict=True
    ):
        assert set(said) == set(known)


def test_settings_are_of_these_weights_alone(params) -> None:
    """A film of another size has no schedule, table or coefficients."""
    other = film.FilmModel(params.model.release, (4, 12, 12))
    for ask in (other.tuned, other.bespoke):
        with pytest.raises(ValueError, match="for these sizes"):
            ask(4)
    assert other.calibrated("tea_cache", 16) == {}
    assert len(params.model.calibrated("mag_cache", 16)["mag_ratios"]) == 16
    assert len(params.model.calibrated("tea_cache", 16)["coefficients"]) == 5
    half = film.with_dtype(params.model, "bfloat16")
    assert half.tuned(4) == params.model.tuned(4)


@pytest.mark.slow
def test_tuned_calls_keep_their_budget(params) -> None:
    """A quarter of the calls, as found for this model."""
    shown = params.model.example(KEY, 4)
    result = sample(params, observation=shown, key=KEY, cache="tuned", budget=4)
    assert result.stats.model_calls == 4
    assert not result.stats.nonfinite


@pytest.mark.slow
def test_requests_are_as_alone(params) -> None:
    """In slots beside others, a film is the one that it is by itself."""
    prompts = ["a red circle moves left", "a cross", "white square up"]
    requests = [
        Request(observation=film.encode(one), key=jax.random.key(i))
        for i, one in enumerate(prompts)
    ]
    together = sample_many(params, requests, slots=2, cache="tea_cache")
    for one, request in zip(together, requests, strict=True):
        alone = sample(
            params, observation=request.observation, key=request.key, cache="tea_cache"
        )
        assert one.stats.model_calls == alone.stats.model_calls < 16
        np.testing.assert_allclose(one.sample, alone.sample, atol=1e-4)


@pytest.mark.slow
def test_a_film_is_written(tmp_path, capsys) -> None:
    """By the command that makes a Wan's, of the bundled name."""
    pytest.importorskip("imageio", reason="needs the extra film")
    out = tmp_path / "circle.gif"
    command = ["film", "a red circle moves left", "--params", "film"]
    assert main([*command, "--steps", "4", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"GIF8")
    assert "4 of 4 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_films_are_written_as_each_is_alone(tmp_path) -> None:
    """Of several prompts a file each, through slots or in a batch."""
    pytest.importorskip("imageio", reason="needs the extra film")
    prompts, asked = ["a red circle moves left", "a cross"], {"cache": "step_cache"}
    (alone,) = film.make_films(
        "film", prompts[1], tmp_path / "one.gif", seed=1, **asked
    ).values()
    for slots in (None, 2):
        out = tmp_path / f"{slots}.gif"
        films = film.make_films("film", prompts, out, slots=slots, **asked)
        assert list(films) == [tmp_path / f"{slots}-{i}.gif" for i in range(2)]
        assert all(path.read_bytes().startswith(b"GIF8") for path in films)
        frames = films[tmp_path / f"{slots}-1.gif"].frames.astype(int)
        if slots:  # In a batch both decide together.
            assert np.abs(frames - alone.frames).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a red dog"], "unknown word 'dog'"),
        (["a red circle", "--height", "32", "--width", "32"], "height"),
        (["a red circle", "--image", "cat.png"], "image"),
        (
            ["a red circle", "a blue cross", "--seed", "2147483647"],
            "one more for each of 2",
        ),
        (["a red circle", "--negative-prompt", "grean"], "Did you mean 'green'?"),
    ],
)
def test_what_the_film_does_not_take(arguments, words, tmp_path, capsys) -> None:
    """One line, before weights are loaded."""
    pytest.importorskip("imageio", reason="needs the extra film")
    out = str(tmp_path / "film.gif")
    assert main(["film", *arguments, "--params", "film", "--out", out]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
