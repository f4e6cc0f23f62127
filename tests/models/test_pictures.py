"""Pictures get a film's size as diffusers and the originals do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jax_stepcache.models.pictures import FITS, as_picture, fit_picture

Image = pytest.importorskip("PIL.Image")
RECORDED = np.load(Path(__file__).parents[1] / "data" / "wan_pictures" / "fitted.npz")


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("number", [0, 1])
def test_recorded(how, number):
    """Numbers of diffusers, PyTorch and Pillow, for a size of another aspect."""
    size = tuple(RECORDED[f"{number}/size"])
    got = fit_picture(RECORDED["picture"], size, how)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, RECORDED[f"{number}/{how}"], atol=2e-6)


@pytest.mark.parametrize("how", FITS)
def test_a_picture_of_the_size_is_itself(how):
    """Every level is kept."""
    picture = RECORDED["picture"]
    got = fit_picture(picture, picture.shape[:2], how)
    want = np.moveaxis(picture.astype(np.float64), -1, 0) / 127.5 - 1
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_pictures_of_any_kind(tmp_path):
    """Arrays, Pillow's, grey ones and those with transparency, and files."""
    picture = RECORDED["picture"]
    file = tmp_path / "picture.png"
    Image.fromarray(picture).save(file)
    for given in (picture, Image.fromarray(picture), file, str(file)):
        np.testing.assert_array_equal(as_picture(given), picture)
    grey = Image.fromarray(picture[..., 0])
    np.testing.assert_array_equal(as_picture(grey), picture[..., :1].repeat(3, -1))
    clear = Image.fromarray(picture).convert("RGBA")
    np.testing.assert_array_equal(as_picture(clear), picture)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 4, 3)), r"last_image is float64\[4, 4, 3\]; give uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"is uint8\[1, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "nothing to see"),
        (7, "last_image is 7; give uint8"),
        (["a.png", "b.png"], "last_image is a list of 2; give one picture: of several"),
    ],
)
def test_what_is_no_picture(given, words):
    """Told, and which of the two it is."""
    with pytest.raises(ValueError, match=words):
        as_picture(given, "last_image")


def test_files_that_are_no_pictures(tmp_path):
    """Told by their names, as is a way to fit them that there is not."""
    file = tmp_path / "notes.png"
    file.write_text("no picture")
    with pytest.raises(ValueError, match=r"image: '.*notes\.png' is no picture"):
        as_picture(file)
    with pytest.raises(FileNotFoundError, match=r"image: there is no file '.*none"):
        as_picture(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"last_image: '.*' is no file"):
        as_picture(tmp_path, "last_image")
    with pytest.raises(ValueError, match="Did you mean 'stretched'"):
        fit_picture(RECORDED["picture"], (16, 16), "stretch")
