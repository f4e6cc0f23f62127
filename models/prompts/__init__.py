"""Texts to tokens, as Wan and DreamZero make them for UMT5: offline, out of a folder.

`load_tokenizer` reads the released ``tokenizer.json`` or ``spiece.model``; ``pip
install 'jax-stepcache[prompts]'`` brings what it needs.
"""

from .cleaning import clean
from .tokenizer import Tokenizer, Tokens, load_tokenizer

__all__ = ["Tokenizer", "Tokens", "clean", "load_tokenizer"]
