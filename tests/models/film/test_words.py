"""Prompts, and what they become."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache.models.film.words import SAID, VOCABULARY, encode


def test_each_word_has_its_place() -> None:
    """Colour, shape and direction are a row each, in whatever order they are said."""
    text = encode("a red circle moves left")["text"]
    assert text.shape == (1, 3, len(VOCABULARY))
    assert text.dtype == np.float32
    said = [VOCABULARY[i] for i in text[0].argmax(axis=1)]
    assert said == ["red", "circle", "left"]
    np.testing.assert_array_equal(text.sum(axis=2), SAID)
    np.testing.assert_array_equal(text, encode("The circle, moving LEFT: red")["text"])


def test_what_is_not_said_is_zero() -> None:
    """A film of which nothing is said is shown nothing."""
    text = encode(["", "a cross"])["text"]
    assert not text[0].any()
    np.testing.assert_array_equal(text[1].sum(axis=1), [0, SAID, 0])


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a rad circle", "Did you mean 'red'?"),
        ("a red blue circle", "says two of"),
        ([3], "prompts"),
        (None, "prompts"),
        ([], "prompts"),
    ],
)
def test_other_words_are_refused(prompt, words) -> None:
    """Named, with the nearest that is known."""
    with pytest.raises((ValueError, TypeError), match=words.replace("?", r"\?")):
        encode(prompt)
