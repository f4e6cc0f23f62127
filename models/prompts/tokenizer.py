"""From prompts to rows of tokens of one length."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.check import static_count
from jax_stepcache.errors import brief
from jax_stepcache.paths import as_path

from .cleaning import clean
from .files import Cutter, find, read

LENGTH = 512
"""Tokens that Wan and DreamZero fill prompts up to."""


class Tokens(NamedTuple):
    """Prompts as an encoder takes them.

    Attributes:
        ids: (B, length) int32.
        mask: (B, length) int32, 1 for the tokens of a prompt and its end, 0 for what
            fills up.
    """

    ids: np.ndarray
    mask: np.ndarray


class Tokenizer:
    """Makes tokens of texts, on the host.

    Attributes:
        length: tokens of each row.
        pad: the token that fills up.
        end: the token that ends a text.
    """

    def __init__(self, cutter: Cutter, length: int = LENGTH, cleans: bool = True):
        """Makes a tokenizer of what a file says.

        Args:
            cutter: as from `files.read`.
            length: tokens of each row.
            cleans: whether texts are cleaned first, see `clean`.

        Raises:
            ValueError: if the length has no room for a token and the end.
        """
        self.length = static_count("length", length, 2)
        self.pad, self.end = cutter.pad, cutter.end
        self._cut, self._clean = cutter.cut, clean if cleans else str

    def __call__(self, texts: str | Sequence[str], *, truncate: bool = True) -> Tokens:
        """Cleans texts, cuts them into tokens, ends them and fills them up.

        Args:
            texts: one, or several.
            truncate: whether a text that is too long loses its last tokens, as in the
                original; otherwise it is an error.

        Returns:
            The tokens; one row for each text.

        Raises:
            TypeError: if something is no text.
            ValueError: if there is none, or one is too long and may not lose anything.
            ImportError: without ftfy, with what to install.
        """
        rows = [texts] if isinstance(texts, str) else list(texts)
        if not rows:
            raise ValueError("texts is empty; give at least one")
        for i, text in enumerate(rows):
            if not isinstance(text, str):
                raise TypeError(
                    f"texts[{i}] is {brief(text)}, of type {type(text).__name__}; give "
                    "a str"
                )
        ids = np.full((len(rows), self.length), self.pad, np.int32)
        mask = np.zeros_like(ids)
        for i, text in enumerate(rows):
            row = self.tokens_of(text)
            if len(row) > self.length and not truncate:
                raise ValueError(
                    f"texts[{i}] has {len(row)} tokens with its end, {brief(text)}; "
                    f"there is room for {self.length}: make it shorter"
                )
            row = [*row[: self.length - 1], self.end] if len(row) > self.length else row
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return Tokens(ids, mask)

    def tokens_of(self, text: str) -> list[int]:
        """All tokens of a text that is cleaned, and its end; as many as it has."""
        found = self._cut(self._clean(text))
        return found if found and found[-1] == self.end else [*found, self.end]


def load_tokenizer(
    path: str | os.PathLike[str], length: int = LENGTH, cleans: bool = True
) -> Tokenizer:
    """Reads a tokenizer; nothing is fetched from anywhere.

    Args:
        path: ``tokenizer.json`` of tokenizers or ``spiece.model`` of sentencepiece; or
            a folder that has one of them in it, in ``tokenizer/``, as diffusers'
            pipelines have, or in ``google/umt5-xxl/``, as Wan's releases have.
        length: tokens that each prompt is filled up to.
        cleans: whether texts are cleaned first, as Wan does it; FLUX does not.

    Returns:
        The tokenizer.

    Raises:
        FileNotFoundError: if there is none.
        ImportError: if the library that reads it is not there, with what to install.
        ValueError: if the file is cut short or something else.
    """
    where: Any = as_path(path)
    if not where.exists():
        raise FileNotFoundError(f"there is no file or folder {str(where)!r}")
    return Tokenizer(read(find(where)), length, cleans)
