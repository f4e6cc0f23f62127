"""Films on disk."""

import numpy as np
import pytest

from jax_stepcache.models.dreamzero import save_film
from jax_stepcache.models.films import read_film, write_film

imageio = pytest.importorskip("imageio.v3")
FRAMES = np.zeros((5, 32, 64, 3), np.uint8)
FRAMES[2:, :16] = (255, 0, 0)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_films_are_read_back(tmp_path, ending):
    """As many frames, of the same size and nearly the same colours."""
    file = tmp_path / f"film{ending}"
    write_film(file, FRAMES, 16)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    back = read_film(file)
    assert back.dtype == np.uint8
    if ending == ".gif" and len(back) == 2:  # Frames that are the same are one.
        back = back[[0, 0, 1, 1, 1]]
    assert back.shape[:3] == FRAMES.shape[:3]
    assert np.abs(back.astype(int) - FRAMES).mean() < 12


def test_a_film_that_there_is_not(tmp_path):
    """Neither the file, nor the kind."""
    with pytest.raises(FileNotFoundError, match="there is no film"):
        read_film(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="ending of a film"):
        read_film(tmp_path / "film.avi")


def test_a_film_of_odd_sizes_is_filled_up(tmp_path):
    """H.264 has no odd numbers of rows or columns: the last ones are said twice."""
    frames = FRAMES[:, :31, :63]
    write_film(tmp_path / "film.mp4", frames, 16)
    back = imageio.imread(tmp_path / "film.mp4", index=None)
    assert back.shape == (*FRAMES.shape[:3], 3)
    assert np.abs(back[:, :31, :63].astype(int) - frames).mean() < 12


@pytest.mark.parametrize(
    ("name", "frames", "words"),
    [
        ("film.avi", FRAMES, "unknown ending of a film '.avi'"),
        ("film.gif", FRAMES[0], r"frames are uint8\[32, 64, 3\]"),
        ("film.gif", FRAMES / 255, r"frames are float64"),
        ("film.gif", FRAMES[:0], "at least one"),
    ],
)
def test_what_is_no_film_is_named(tmp_path, name, frames, words):
    """Before anything is written."""
    with pytest.raises(ValueError, match=words):
        write_film(tmp_path / name, frames, 16)
    assert not list(tmp_path.iterdir())


def test_as_many_frames_a_second(tmp_path):
    """As asked for; a robot's film has DROID's pace."""
    write_film(tmp_path / "film.mp4", FRAMES, 10)
    save_film(tmp_path / "robot.mp4", FRAMES)
    for name, fps in (("film.mp4", 10), ("robot.mp4", 5)):
        assert imageio.immeta(tmp_path / name)["fps"] == fps
    with pytest.raises(ValueError, match="fps is 0; it must be above 0"):
        write_film(tmp_path / "none.mp4", FRAMES, 0)
