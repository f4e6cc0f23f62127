"""Where recorded numbers of the originals lie, and the tests made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

_HELD = Path(__file__).parents[1] / "data"
_found = pytest.StashKey[int]()


def vectors_dir(config: pytest.Config) -> Path:
    """The folder given by ``--vectors``, or the one that the repository holds.

    One part of such a folder, ``flux`` say, may be given in its place.
    """
    folder = config.getoption("vectors") or _HELD
    if not folder.is_dir():
        raise pytest.UsageError(f"--vectors: there is no folder {folder}")
    folder = folder.resolve()
    is_part = (_HELD / folder.name).is_dir() and any(folder.glob("*.npz"))
    return folder.parent if is_part else folder


def dreamzero_files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``dreamzero`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "dreamzero").glob(pattern))


def caches_files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``caches`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "caches").glob(pattern))


def guidance_files(config: pytest.Config) -> list[Path]:
    """Files of the ``guidance`` part: runs that left the unconditional branch out."""
    return sorted((vectors_dir(config) / "guidance").glob("*.npz"))


def pruning_files(config: pytest.Config) -> list[Path]:
    """Files of the ``pruning`` part: runs that skipped single blocks."""
    return sorted((vectors_dir(config) / "pruning").glob("*.npz"))


def solvers_files(config: pytest.Config) -> list[Path]:
    """Files of the ``solvers`` part: trajectories of diffusers' schedulers."""
    return sorted((vectors_dir(config) / "solvers").glob("*.npz"))


def pixels_files(config: pytest.Config) -> list[Path]:
    """Sessions of the ``pixels`` part, from the request to the reply."""
    files = sorted((vectors_dir(config) / "pixels").glob("*.npz"))
    return [file for file in files if not file.stem.endswith("_params")]


def params_of(folder: Path, name: str) -> Path:
    """The file of a network's parameters, beside what was recorded of it.

    A recording without them could not be compared: that is a failure, lest a run over
    a folder whose files are misnamed be green.
    """
    file = folder / f"{name}_params.npz"
    if not file.exists():
        pytest.fail(f"there is no {file}, and recordings of it are there")
    return file


def parametrize(
    metafunc: pytest.Metafunc,
    names: str | Sequence[str],
    cases: Sequence[Any],
    ids: Sequence[str],
    kinds: Sequence[str] | None = None,
) -> None:
    """Makes one test of each case, and counts them for `found`.

    Args:
        metafunc: the test function.
        names: of its arguments.
        cases: their values.
        ids: what the tests are called.
        kinds: of each case; the first of a kind is quick, the others are slow. Without
            kinds all are quick.
    """
    metafunc.config.stash[_found] = found(metafunc.config) + len(cases)
    kinds = ids if kinds is None else kinds
    marks = [
        pytest.mark.slow if kind in kinds[:i] else () for i, kind in enumerate(kinds)
    ]
    several = not isinstance(names, str) or "," in names
    metafunc.parametrize(
        names,
        [
            pytest.param(*(case if several else [case]), id=name, marks=mark)
            for case, name, mark in zip(cases, ids, marks, strict=True)
        ],
    )


def found(config: pytest.Config) -> int:
    """How many recorded cases have become tests."""
    return config.stash.get(_found, 0)
