"""Where a tokenizer's file lies, and the library that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.checkpoints.weights import refuse_stand_in

JSON, PIECES = "tokenizer.json", "spiece.model"
# Where releases keep it: by itself, in diffusers' folders, in Wan's.
_FOLDERS = ("", "tokenizer", "google/umt5-xxl", "umt5-xxl")
PAD, END = "<pad>", "</s>"
_MISSING = "{file} needs {package}: pip install 'jax-stepcache[prompts]'"


class Cutter(NamedTuple):
    """What a file says.

    Attributes:
        cut: from a text to its tokens; the end token may be among them.
        pad: the token that fills up.
        end: the token that ends a text.
    """

    cut: Callable[[str], list[int]]
    pad: int
    end: int


def find(path: Path) -> Path:
    """The file of a tokenizer.

    Args:
        path: the file, or a folder that has it in one of the usual places.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if there is none, with all places that were looked at.
    """
    if path.is_file():
        return path
    places = [path / folder / name for folder in _FOLDERS for name in (JSON, PIECES)]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place.relative_to(path)) for place in places)
    raise FileNotFoundError(f"there is no tokenizer in {path}; looked for {looked}")


def read(file: Path) -> Cutter:
    """Reads a tokenizer's file.

    Args:
        file: tokenizers' JSON, or a model of sentencepiece.

    Returns:
        What it says.

    Raises:
        ImportError: if the library that reads it is not there, with what to install.
        ValueError: if it is none, or has no tokens to fill up and to end with.
    """
    refuse_stand_in(file)
    return _read_json(file) if file.suffix == ".json" else _read_pieces(file)


def _read_json(file: Path) -> Cutter:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            _MISSING.format(file=file.name, package="tokenizers")
        ) from error
    try:
        text = file.read_text(encoding="utf-8")
        json.loads(text)
        found = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing more particular
        raise ValueError(f"{file} is no tokenizer of tokenizers': {error}") from error
    # A file may say both; how a prompt is cut off and filled up is said here.
    found.no_truncation()
    found.no_padding()
    return Cutter(
        lambda text: found.encode(text).ids,
        _token(file, PAD, found.token_to_id(PAD)),
        _token(file, END, found.token_to_id(END)),
    )


def _read_pieces(file: Path) -> Cutter:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            _MISSING.format(file=file.name, package="sentencepiece")
        ) from error
    found: Any = sentencepiece.SentencePieceProcessor()
    try:
        found.LoadFromSerializedProto(file.read_bytes())
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{file} is no model of sentencepiece: {error}") from error

    def known(name: str) -> int | None:
        number = found.PieceToId(name)
        return number if found.IdToPiece(number) == name else None

    return Cutter(
        lambda text: list(found.EncodeAsIds(text)),
        _token(file, PAD, known(PAD)),
        _token(file, END, known(END)),
    )


def _token(file: Path, name: str, number: int | None) -> int:
    if number is None:
        raise ValueError(f"{file} has no token {name!r}, which UMT5's tokenizer has")
    return number
