"""A tiny model whole, and a tokenizer without a file."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.pixels.tiny import TEXT, TRANSFORMERS, write_tiny


def tokenize(texts):
    """One token a letter of what differs: the instruction at the end."""
    length = TRANSFORMERS["i2v"].text_len
    ids = np.zeros((len(texts), length), np.int64)
    for row, text in zip(ids, texts, strict=True):
        letters = [ord(letter) % TEXT.vocab for letter in text[-length + 1 :]]
        row[: len(letters) + 1] = [*letters, 1]
    return ids, (ids != 0).astype(np.int64)


@functools.cache
def tiny_folder(kind: str = "i2v") -> Path:
    """Written once; the process's temporary folder goes with the machine's."""
    return write_tiny(Path(tempfile.mkdtemp()) / "tiny", kind)


@functools.cache
def tiny(kind: str = "i2v", **settings) -> DreamZeroPipeline:
    """A pipeline of a whole folder."""
    return DreamZeroPipeline.from_folder(
        tiny_folder(kind), tokenizer=tokenize, **settings
    )


STEPS = {"num_inference_steps": 2}
