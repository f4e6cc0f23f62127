"""Films on disk."""

import numpy as np
import pytest

from jax_stepcache.models.dreamzero import save_film

imageio = pytest.importorskip("imageio.v3")
FRAMES = np.zeros((5, 32, 64, 3), np.uint8)
FRAMES[2:, :16] = (255, 0, 0)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_films_are_read_back(tmp_path, ending):
    """As many frames, of the same size and nearly the same colours."""
    file = tmp_path / f"film{ending}"
    save_film(file, FRAMES)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    back = imageio.imread(file, index=None)
    if ending == ".gif" and len(back) == 2:  # Frames that are the same are one.
        back = back[[0, 0, 1, 1, 1]]
    assert back.shape[:3] == FRAMES.shape[:3]
    assert np.abs(back[..., :3].astype(int) - FRAMES).mean() < 12


def test_a_film_of_odd_sizes_is_filled_up(tmp_path):
    """H.264 has no odd numbers of rows or columns: the last ones are said twice."""
    frames = FRAMES[:, :31, :63]
    save_film(tmp_path / "film.mp4", frames)
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
        save_film(tmp_path / name, frames)
    assert not list(tmp_path.iterdir())
