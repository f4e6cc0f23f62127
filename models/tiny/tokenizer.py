"""Tokenizers of UMT5's kind and of CLIP's, that know a few sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_tokenizer(file: Path, said: Iterable[str], vocabulary: int) -> None:
    """Trains one on what is said to it; ids 0 and 1 are padding and end, as there.

    Args:
        file: ``tokenizer.json``, to be written.
        said: sentences.
        vocabulary: at most so many tokens.

    Raises:
        ImportError: without tokenizers.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "a tiny model needs tokenizers: pip install 'jax-stepcache[prompts]'"
        ) from error

    made: Any = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    made.train_from_iterator(list(said), trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    made.save(str(file))


def write_clip_tokenizer(folder: Path, said: Iterable[str]) -> int:
    """Writes one of CLIP's kind that knows letters, and how some words begin.

    It is made by hand: one that is trained differs from process to process.

    Args:
        folder: ``vocab.json`` and ``merges.txt`` are written into it.
        said: sentences, whose letters and words it knows.

    Returns:
        The token that ends a text.
    """
    words = sorted({word for text in said for word in re.findall(r"\w+|[^\w\s]", text)})
    letters = sorted(set("".join(words)))
    begins = sorted({word[:2] for word in words if len(word) > 2})
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *begins]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = [f"{pair[0]} {pair[1]}" for pair in begins]
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(lines + "\n", encoding="utf-8")
    return vocabulary["<|endoftext|>"]
