"""What a film is asked with is checked before anything is loaded."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache.models.wan import RELEASES
from jax_stepcache.models.wan.sizing import (
    check_extent,
    check_guidance,
    check_pictures,
    film_size,
    unit,
)

T2V, I2V, A14B = "wan2.1-t2v-14b", "wan2.1-i2v-14b-720p", "wan2.2-i2v-a14b"
FLF2V, TI2V = "wan2.1-flf2v-14b", "wan2.2-ti2v-5b"


@pytest.mark.parametrize(
    ("name", "image", "last", "words"),
    [
        (T2V, 1, None, "words alone, so it takes no image; got image"),
        (T2V, 1, 1, "got image and last_image"),
        (I2V, None, None, "begins films with a picture: give image; got neither"),
        (I2V, 1, 1, "takes no last_image; those that do are flf2v"),
        (A14B, None, 1, "give image; got last_image"),
        (FLF2V, 1, None, "between two pictures: give image and last_image; got image"),
        (FLF2V, None, None, "got neither"),
        (TI2V, 1, 1, "takes no last_image"),
    ],
)
def test_pictures_that_do_not_fit_the_task(name, image, last, words):
    """An image for T2V, none for I2V, one for two: named errors."""
    with pytest.raises(ValueError, match=words):
        check_pictures(RELEASES[name], image, last)


@pytest.mark.parametrize(
    ("name", "image", "last"),
    [
        (T2V, None, None),
        (I2V, 1, None),
        (A14B, 1, None),
        (A14B, 1, 1),
        (FLF2V, 1, 1),
        (TI2V, None, None),
        (TI2V, 1, None),
    ],
)
def test_pictures_that_fit(name, image, last):
    """TI2V may have one; the experts of I2V a last one too, for they have no CLIP."""
    check_pictures(RELEASES[name], image, last)


def test_a_second_guidance_scale():
    """Is of a second transformer."""
    check_guidance(RELEASES[A14B], 3.0)
    check_guidance(RELEASES[T2V], None)
    with pytest.raises(ValueError, match="guidance_scale_2 is of the low-noise expert"):
        check_guidance(RELEASES[T2V], 3.0)


def test_sizes_that_are_said_or_left_out():
    """Both sides or neither; without a picture the release's own."""
    release = RELEASES[T2V]
    assert film_size(release, None, None) == release.size
    assert film_size(release, 96, 64, (3, 4)) == (96, 64)
    with pytest.raises(ValueError, match="give height and width, or neither"):
        film_size(release, 96, None)


# The first by hand from the original's rule; the others by its `best_output_size`.
@pytest.mark.parametrize(
    ("name", "picture", "wanted"),
    [
        (I2V, (1080, 1920), (720, 1280)),
        (I2V, (1000, 1000), (960, 960)),
        ("wan2.1-i2v-14b-480p", (1920, 1080), (832, 464)),
        (TI2V, (704, 1280), (704, 1280)),
        (TI2V, (1000, 1000), (928, 960)),
        (TI2V, (1080, 1920), (704, 1248)),
        (TI2V, (500, 2100), (448, 1920)),
    ],
)
def test_sizes_of_the_originals(name, picture, wanted):
    """The picture's aspect and the release's area, in whole tokens."""
    assert film_size(RELEASES[name], None, None, picture) == wanted


@pytest.mark.parametrize("name", RELEASES)
def test_sizes_of_any_picture(name):
    """Whole tokens, an area of at most the release's, nearly the aspect."""
    release, rng = RELEASES[name], np.random.default_rng(0)
    for _ in range(200):
        picture = tuple(int(x) for x in np.exp(rng.uniform(5.5, 8, 2)))
        height, width = film_size(release, None, None, picture)
        assert height % unit(release, 1) == width % unit(release, 2) == 0
        assert 0 < height * width <= release.size[0] * release.size[1]
        off = (height / width) / (picture[0] / picture[1])
        assert 0.8 < off < 1.25


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        (
            T2V,
            (81, 16, 16400),
            "width is 16400; it may be at most 16384: .*1024 tokens",
        ),
        (TI2V, (81, 32800, 32), "height is 32800; it may be at most 32768"),
        (T2V, (4097, 480, 832), "num_frames is 4097; it may be at most 4093"),
        (T2V, (81, 4096, 4096), r"16,777,216 pixels a frame; at most .* on 720 x 1280"),
    ],
)
def test_films_that_no_wan_could_make(name, size, words):
    """More tokens than there are positions, or frames beyond 4K: the limit, and why."""
    with pytest.raises(ValueError, match=words):
        check_extent(RELEASES[name], *size)


@pytest.mark.parametrize("name", RELEASES)
def test_films_that_a_wan_could_make(name):
    """Its own size, 4K, and as many frames as it has positions for."""
    release = RELEASES[name]
    for size in ((release.num_frames, *release.size), (81, 2144, 3840), (4093, 16, 16)):
        check_extent(release, *size)


@pytest.mark.parametrize("picture", [(10, 4000), (4000, 100)])
def test_a_picture_that_is_a_strip(picture):
    """Gives no film its aspect; its size may be said."""
    release = RELEASES[I2V]
    with pytest.raises(ValueError, match="up to 1:16; crop it, or give height and"):
        film_size(release, None, None, picture)
    assert film_size(release, 480, 832, picture) == (480, 832)
