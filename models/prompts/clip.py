"""CLIP's tokenizer: texts to rows of tokens of one length, offline, out of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.check import static_count
from jax_stepcache.errors import brief
from jax_stepcache.paths import as_path

CLIP_LENGTH = 77
"""Tokens that CLIP's encoders take, those around a text included."""

_JSON, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
# Words, contractions, single digits, and runs of anything else.
_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
    r"|[^\s\p{L}\p{N}]+"
)


class ClipTokenizer:
    """Makes tokens of texts, on the host.

    Attributes:
        length: tokens of each row.
        begin: the token before a text.
        end: the token behind it, which fills up as well.
    """

    def __init__(self, found: Any, length: int = CLIP_LENGTH):
        """Makes a tokenizer.

        Args:
            found: of the library ``tokenizers``.
            length: tokens of each row.

        Raises:
            ValueError: if it lacks the tokens around a text.
        """
        self.length = static_count("length", length, 3)
        begin, end = found.token_to_id(_BEGIN), found.token_to_id(_END)
        if begin is None or end is None:
            raise ValueError(f"the tokenizer has no tokens {_BEGIN!r} and {_END!r}")
        self.begin, self.end, self._found = int(begin), int(end), found

    def __call__(self, texts: str | Sequence[str]) -> np.ndarray:
        """Cuts texts into tokens, int32 (texts, length); what is too long is cut off.

        Raises:
            TypeError: if something is no text.
            ValueError: if there is none.
        """
        rows = [texts] if isinstance(texts, str) else list(texts)
        if not rows:
            raise ValueError("texts is empty; give at least one")
        ids = np.full((len(rows), self.length), self.end, np.int32)
        for i, text in enumerate(rows):
            if not isinstance(text, str):
                raise TypeError(f"texts[{i}] is {brief(text)}; give a str")
            cut = self._found.encode(text, add_special_tokens=False).ids
            row = [self.begin, *cut[: self.length - 2], self.end]
            ids[i, : len(row)] = row
        return ids


def load_clip_tokenizer(
    path: str | os.PathLike[str], length: int = CLIP_LENGTH
) -> ClipTokenizer:
    """Reads CLIP's tokenizer; nothing is fetched from anywhere.

    Args:
        path: a folder with ``tokenizer.json``, or with ``vocab.json`` and
            ``merges.txt``; or one with such a folder ``tokenizer`` in it, as diffusers'
            pipelines have.
        length: tokens of each row.

    Returns:
        The tokenizer.

    Raises:
        FileNotFoundError: if there is none, with what was looked for.
        ImportError: without tokenizers, with what to install.
        ValueError: if a file is none of a tokenizer's.
    """
    folder = as_path(path)
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "CLIP's tokenizer needs tokenizers: pip install 'jax-stepcache[prompts]'"
        ) from error
    for place in (folder, folder / "tokenizer"):
        if (place / _JSON).is_file():
            return ClipTokenizer(_of_json(tokenizers, place / _JSON), length)
        if (place / _VOCABULARY).is_file() and (place / _MERGES).is_file():
            return ClipTokenizer(_of_merges(tokenizers, place), length)
    raise FileNotFoundError(
        f"there is no tokenizer of CLIP's in {folder}; looked for {_JSON}, or "
        f"{_VOCABULARY} and {_MERGES}, there and in tokenizer/"
    )


def _of_json(tokenizers: Any, file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        json.loads(text)
        found = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing more particular
        raise ValueError(f"{file} is no tokenizer of tokenizers': {error}") from error
    found.no_truncation()
    found.no_padding()
    return found


def _of_merges(tokenizers: Any, folder: Path) -> Any:
    """The tokenizer that CLIP's own code makes of these files."""
    try:
        model = tokenizers.models.BPE.from_file(
            str(folder / _VOCABULARY),
            str(folder / _MERGES),
            unk_token=_END,
            end_of_word_suffix="</w>",
            continuing_subword_prefix="",
            fuse_unk=False,
        )
    except Exception as error:  # likewise
        raise ValueError(f"{folder} has no tokenizer of CLIP's: {error}") from error
    found = tokenizers.Tokenizer(model)
    normalizers, pre = tokenizers.normalizers, tokenizers.pre_tokenizers
    found.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    pieces = pre.Split(tokenizers.Regex(_PIECES), behavior="removed", invert=True)
    found.pre_tokenizer = pre.Sequence([pieces, pre.ByteLevel(add_prefix_space=False)])
    found.add_special_tokens([_BEGIN, _END])
    return found
