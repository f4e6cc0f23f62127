"""Sequences on disk: whole, fitting, and never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jax_stepcache.models.dreamzero.training import (
    load_chunks,
    save_chunks,
)

from .sequences import MODEL, random_chunks


def test_sequences_on_disk_are_checked(data: Path, tmp_path: Path) -> None:
    """All that is wrong with a folder is said at once, by file."""
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_chunks(tmp_path / "nowhere", MODEL)
    chunks = random_chunks(MODEL, 4)
    save_chunks(tmp_path, chunks._replace(text=chunks.text[:3]))
    with pytest.raises(ValueError, match=r"text.npy is \(3, 3, 5\)"):
        load_chunks(tmp_path, MODEL)
    (tmp_path / "text.npy").unlink()
    (tmp_path / "video.npy").write_bytes((data / "video.npy").read_bytes()[:-9])
    np.save(tmp_path / "prompt.npy", np.zeros(2))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_chunks(tmp_path, MODEL)
    for said in ("missing: text.npy", "cut short", "unknown: prompt.npy"):
        assert said in str(error.value)


def test_sequences_are_no_longer_than_a_window(tmp_path: Path) -> None:
    """A block beyond it would never be seen where it stands."""
    save_chunks(tmp_path, random_chunks(MODEL, 2, blocks=3))
    with pytest.raises(ValueError, match="3 blocks a sequence; a window has 2"):
        load_chunks(tmp_path, MODEL)


def test_actions_must_be_normalised(tmp_path: Path) -> None:
    """As the original insists: joints in radians would train in silence."""
    chunks = random_chunks(MODEL, 2)
    save_chunks(tmp_path, chunks._replace(action=3 * chunks.action))
    with pytest.raises(ValueError, match=r"leaves \[-1, 1\]"):
        load_chunks(tmp_path, MODEL)


def test_pickled_arrays_are_refused(data: Path, tmp_path: Path) -> None:
    """An object array would run code; it is an error like a file cut short."""
    save_chunks(tmp_path, random_chunks(MODEL, 2))
    np.save(tmp_path / "text.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"text\.npy"):
        load_chunks(tmp_path, MODEL)
