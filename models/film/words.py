"""The words that a film is asked for with: a colour, a shape and a direction."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from jax_stepcache.errors import unknown_name

from ..prompts.texts import texts

COLOURS = ("red", "green", "blue", "yellow", "white")
SHAPES = ("circle", "square", "triangle", "cross")
DIRECTIONS = ("left", "right", "up", "down")
KINDS = (COLOURS, SHAPES, DIRECTIONS)
VOCABULARY = (*COLOURS, *SHAPES, *DIRECTIONS)
# The number that stands for a word. By a one it would move a fresh network's tokens so
# little that direction, which says nothing without place and time, is never learned.
SAID = 8.0
_WORD = re.compile(r"\w+")
_FILLERS = frozenset({"a", "the", "moves", "moving"})


def encode(prompts: str | Sequence[str]) -> dict[str, np.ndarray]:
    """Turns prompts into what the model is shown.

    Args:
        prompts: one, or several, such as ``"a red circle moves left"``. What is not
            said (``"a circle"``) is left to chance; "" leaves all of it.

    Returns:
        ``text`` float32 (B, 3, words of the vocabulary): a row for colour, shape and
        direction, with `SAID` at the word that was said; a row of zeros where none was.

    Raises:
        TypeError: for what is no text.
        ValueError: for a word that is not known, two of a kind, or no prompt.
    """
    given = texts(prompts, "prompts")
    text = np.zeros((len(given), len(KINDS), len(VOCABULARY)), np.float32)
    for row, prompt in zip(text, given, strict=True):
        for word in _WORD.findall(prompt.lower()):
            if word in _FILLERS:
                continue
            if word not in VOCABULARY:
                known = (*VOCABULARY, *sorted(_FILLERS))
                raise ValueError(unknown_name("word", word, known))
            place = next(i for i, kind in enumerate(KINDS) if word in kind)
            if row[place].any():
                raise ValueError(
                    f"{prompt!r} says two of {list(KINDS[place])}; a film shows one"
                )
            row[place, VOCABULARY.index(word)] = SAID
    return {"text": text}


def prompt_of(colour: int, shape: int, direction: int) -> str:
    """The prompt of a scene, of which each number is a place in its tuple."""
    return f"a {COLOURS[colour]} {SHAPES[shape]} moves {DIRECTIONS[direction]}"
