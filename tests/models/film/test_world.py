"""Films that the code makes, and what is read off them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.models.film.quality import asked_in_turn
from jax_stepcache.models.film.reading import read
from jax_stepcache.models.film.words import prompt_of
from jax_stepcache.models.film.world import BACKGROUND, FRAMES, SIZE, draw, render

ASKED = asked_in_turn(80)


@pytest.fixture(scope="module")
def films():
    """A film of each prompt."""

    @jax.jit
    def made(keys, words):
        return jax.vmap(render)(jax.vmap(draw)(keys, words))

    return np.asarray(made(jax.random.split(jax.random.key(3), 80), ASKED))


def test_every_prompt_is_asked_once() -> None:
    """80 in turn are all of them."""
    assert len({prompt_of(*one) for one in ASKED}) == 80


def test_the_shape_is_whole_in_every_frame(films) -> None:
    """Pixels at the edge are covered in part at most, and each frame has as much ink:
    nothing is cut off."""
    assert films.shape == (80, FRAMES, SIZE, SIZE, 3)
    edge = np.ones((SIZE, SIZE), bool)
    edge[1:-1, 1:-1] = False
    assert films[:, :, edge].max() < 0.75 < films.max()
    ink = np.abs(films - BACKGROUND).sum(axis=(2, 3, 4))
    assert (ink.max(axis=1) < 1.15 * ink.min(axis=1)).all()


def test_films_are_read_as_they_were_made(films) -> None:
    """The reader is right about every film of the world's own."""
    read_back = [read(film) for film in films]
    for asked, found in zip(ASKED, read_back, strict=True):
        assert found.prompt == prompt_of(*asked)
    assert min(one.psnr for one in read_back) > 28


def test_the_reader_sees_what_is_wrong(films) -> None:
    """Backwards, mirrored in time, is another direction; noise and an empty film are
    like no drawing."""
    for film in films[:8]:
        there, back = read(film), read(film[::-1])
        assert {there.direction, back.direction} in ({0, 1}, {2, 3})
        assert (there.colour, there.shape) == (back.colour, back.shape)
    noise = np.random.default_rng(0).uniform(0, 1, films[0].shape)
    assert read(noise).psnr < 12
    empty = np.full(films[0].shape, BACKGROUND, np.float32)
    assert read(empty).psnr < 25
