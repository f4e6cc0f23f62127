"""Films that the code makes, and what is read off them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.models.film.quality import asked_in_turn, judge, worlds_own
from jax_stepcache.models.film.reading import read
from jax_stepcache.models.film.words import prompt_of
from jax_stepcache.models.film.world import (
    BACKGROUND,
    FRAMES,
    SIZE,
    STENCILS,
    STEPS,
    draw,
)

ASKED = asked_in_turn(160)


@pytest.fixture(scope="module")
def films():
    """Two films of each prompt."""
    return worlds_own(ASKED, seed=3)


def test_every_prompt_is_asked_in_turn() -> None:
    """80 in turn are all of them."""
    assert len({prompt_of(*one) for one in ASKED[:80]}) == 80
    np.testing.assert_array_equal(ASKED[:80], ASKED[80:])


def test_the_shape_is_whole_and_moves_a_pixel_a_frame(films) -> None:
    """As many pixels are covered in each frame as the shape has, and each frame is the
    one before, moved as was said."""
    assert films.shape == (160, FRAMES, SIZE, SIZE, 3)
    covered = np.abs(films - BACKGROUND).max(axis=-1) > 0.01
    count = STENCILS.sum(axis=(1, 2))[ASKED[:, 1]]
    np.testing.assert_array_equal(
        covered.sum(axis=(2, 3)), np.tile(count[:, None], FRAMES)
    )
    for film, (_, _, direction) in zip(films, ASKED, strict=True):
        moved = np.roll(film[:-1], STEPS[direction], axis=(1, 2))
        np.testing.assert_array_equal(film[1:], moved)


def test_scenes_begin_wherever_they_can() -> None:
    """Any start from which the shape stays inside, in each direction."""
    scenes = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 4000))
    direction, start = np.asarray(scenes.direction), np.asarray(scenes.start)
    room = SIZE - STENCILS.shape[-1] + 1
    for one in range(4):
        found = np.unique(start[direction == one], axis=0)
        assert len(found) == room * (room - FRAMES + 1)


def test_films_are_read_as_they_were_made(films) -> None:
    """The reader is right about every film of the world's own, in noise as well."""
    assert judge(films, ASKED)[:4] == (1, 1, 1, 1)
    noisy = films + np.random.default_rng(0).normal(0, 0.2, films.shape)
    found = judge(noisy, ASKED)
    assert found.right > 0.95
    assert 13 < found.psnr < 15  # 20 log10(1 / 0.2)


def test_the_reader_finds_the_nearest_film_there_could_be(films) -> None:
    """Backwards is the other direction; the distance is that to the film it names."""
    for film, back in zip(films[:8], films[:8, ::-1], strict=True):
        there, returning = read(film), read(back)
        assert {there.direction, returning.direction} in ({0, 1}, {2, 3})
        assert there[:2] == returning[:2]
    broken = films[0].copy()
    broken[2] = BACKGROUND
    error = np.square(broken - films[0]).mean()
    np.testing.assert_allclose(read(broken).psnr, -10 * np.log10(error), rtol=1e-3)
