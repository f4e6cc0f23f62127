"""Paths as people write them: text or path objects, with ``~`` for a home folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def as_path(given: str | os.PathLike[str], what: str = "path") -> Path:
    """Takes a path as the shell would.

    Every path that somebody hands in goes through here, once or more often: a leading
    ``~`` or ``~user`` becomes that home folder. A file of such a name is ``./~``.

    Args:
        given: a string, or anything with ``__fspath__``.
        what: the name of the argument, for the error.

    Returns:
        The path.

    Raises:
        TypeError: if it is no path.
        ValueError: if it is empty, or begins with ``~`` and a user who is not known.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(
            f"{what} is {given!r:.80}, of type {type(given).__name__}; give a path, a "
            "string or a pathlib.Path"
        )
    text = os.fspath(given)
    if not isinstance(text, str):
        raise TypeError(f"{what} is {text!r:.80}; give a path as text, not as bytes")
    if not text or "\0" in text:
        raise ValueError(f"{what} is {text!r}; give the name of a file or a folder")
    path = Path(os.path.expanduser(text))
    if not str(path).startswith("~"):
        return path
    if text.startswith("~"):
        raise ValueError(
            f"{what} is {text!r}, and there is no home folder of that user; a file of "
            f"such a name is './{text}'"
        )
    # pathlib forgets the "./", and the next one who takes the path must not expand it.
    return path.absolute()


def path_option(text: str) -> Path:
    """Reads an option of a command: shells leave the ``~`` of ``--out=~/x`` alone.

    Args:
        text: as it was typed.

    Returns:
        The path.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        return as_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def numbered(path: str | os.PathLike[str], count: int) -> list[Path]:
    """Names for several files of which one name is said.

    Args:
        path: that name.
        count: how many.

    Returns:
        The path for one, else with ``-0``, ``-1`` and so on before its ending.
    """
    file = as_path(path)
    if count == 1:
        return [file]
    return [file.with_name(f"{file.stem}-{i}{file.suffix}") for i in range(count)]
