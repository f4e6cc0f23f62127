"""A tokenizer of UMT5's kind, trained on a few sentences."""

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
