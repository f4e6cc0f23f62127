"""A prompt as the network's tokens, cut by PaliGemma's own file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import brief
from jax_stepcache.paths import as_path

NAME = "paligemma_tokenizer.model"
"""What openpi calls the file."""

_BINS = np.linspace(-1, 1, 256 + 1)[:-1]


class Tokens(NamedTuple):
    """One prompt.

    Attributes:
        ids: int32 (max_token_len,), 0 where there is none.
        mask: bool (max_token_len,), where there is one.
    """

    ids: np.ndarray
    mask: np.ndarray


class Words:
    """Makes tokens of prompts, on the host.

    Attributes:
        length: tokens of a row.
        with_state: whether the state is part of a prompt, as pi0.5 has it.
    """

    def __init__(
        self, cut: Callable[[str, bool], list[int]], length: int, with_state: bool
    ):
        """Takes what cuts texts.

        Args:
            cut: ``(text, whether it begins a sequence) -> tokens``.
            length: tokens of a row.
            with_state: see above.
        """
        self._cut, self.length, self.with_state = cut, length, with_state

    def __deepcopy__(self, memo: Any) -> Words:
        """Itself, for it does not change."""
        return self

    def __reduce__(self) -> Any:
        """A tokenizer is read from its file, and not from others.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "Words hold a tokenizer, which no other file keeps; keep the folder, and "
            "read it again: Pi0Pipeline.from_folder, or load_words"
        )

    def __call__(self, prompt: str, state: np.ndarray) -> Tokens:
        """Cuts a prompt.

        Args:
            prompt: the words.
            state: float32 (n,), normalised; looked at where it is part of the prompt.

        Returns:
            The tokens; what does not fit is cut off, as in the original.

        Raises:
            TypeError: if the prompt is no text.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"prompt is {brief(prompt)}; give a str")
        text = prompt.strip().replace("_", " ").replace("\n", " ")
        if self.with_state:
            bins = np.digitize(state, _BINS) - 1
            said = " ".join(map(str, bins))
            found = self._cut(f"Task: {text}, State: {said};\nAction: ", True)
        else:
            found = [*self._cut(text, True), *self._cut("\n", False)]
        found = found[: self.length]
        ids = np.zeros(self.length, np.int32)
        ids[: len(found)] = found
        return Tokens(ids, np.arange(self.length) < len(found))


def load_words(path: str | os.PathLike[str], length: int, *, with_state: bool) -> Words:
    """Reads PaliGemma's tokenizer; nothing is fetched from anywhere.

    Args:
        path: ``paligemma_tokenizer.model``, or a folder that has it.
        length: tokens of a row.
        with_state: whether the state is part of a prompt, as pi0.5 has it.

    Returns:
        What makes tokens.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: without sentencepiece, with what to install.
        ValueError: if the file is of another kind.
    """
    file = as_path(path)
    file = file / NAME if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file}; openpi downloads it from "
            "gs://big_vision/paligemma_tokenizer.model"
        )
    return Words(_cutter(file), length, with_state)


def _cutter(file: Path) -> Callable[[str, bool], list[int]]:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            f"prompts of pi0 need more: pip install 'jax-stepcache[prompts]' ({error})"
        ) from error
    processor: Any = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(file.read_bytes())
    except RuntimeError as error:
        raise ValueError(f"{file} is no model of sentencepiece: {error}") from error

    def cut(text: str, begins: bool) -> list[int]:
        return processor.encode(text, add_bos=begins)

    return cut
