"""Tokenizers of UMT5's kind and of CLIP's, trained on a few sentences."""

from __future__ import annotations

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
    import tokenizers

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


def write_clip_tokenizer(folder: Path, said: Iterable[str], vocabulary: int) -> int:
    """Trains one of CLIP's on what is said to it, and writes it as CLIP's is released.

    Args:
        folder: ``vocab.json`` and ``merges.txt`` are written into it.
        said: sentences.
        vocabulary: at most so many tokens.

    Returns:
        The token that ends a text.

    Raises:
        ImportError: without tokenizers.
    """
    import tokenizers

    begin, end = "<|startoftext|>", "<|endoftext|>"
    model: Any = tokenizers.models.BPE(unk_token=end, end_of_word_suffix="</w>")
    made: Any = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[begin, end],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    made.train_from_iterator(list(said), trainer)
    made.model.save(str(folder))
    return int(made.token_to_id(end))
