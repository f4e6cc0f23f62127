"""Where recorded numbers of the originals lie, and the tests made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

_HELD = Path(__file__).parents[1] / "data"
_found = pytest.StashKey[int]()


def vectors_dir(config: pytest.Config) -> Path:
    """The folder given by ``--vectors``, or the one that the repository holds."""
    folder = config.getoption("vectors") or _HELD
    if not folder.is_dir():
        raise pytest.UsageError(f"--vectors: there is no folder {folder}")
    return folder


def dreamzero_files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``dreamzero`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "dreamzero").glob(pattern))


def caches_files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``caches`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "caches").glob(pattern))


def parametrize(
    metafunc: pytest.Metafunc, names: str, cases: Sequence[tuple], ids: Sequence[str]
) -> None:
    """Makes one test of each case, and counts them for `found`."""
    metafunc.config.stash[_found] = found(metafunc.config) + len(cases)
    metafunc.parametrize(names, cases, ids=ids)


def found(config: pytest.Config) -> int:
    """How many recorded cases have become tests."""
    return config.stash.get(_found, 0)
