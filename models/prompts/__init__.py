"""Texts to tokens for UMT5, T5 and CLIP: offline, out of a folder.

`load_tokenizer` reads the released ``tokenizer.json`` or ``spiece.model``; ``pip
install 'jax-stepcache[prompts]'`` brings what it needs.
"""

from .cleaning import clean
from .clip import ClipTokenizer, load_clip_tokenizer
from .tokenizer import Tokenizer, Tokens, load_tokenizer

__all__ = [
    "ClipTokenizer",
    "Tokenizer",
    "Tokens",
    "clean",
    "load_clip_tokenizer",
    "load_tokenizer",
]
