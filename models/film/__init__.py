"""A Wan small enough to ship: films of a coloured shape that moves, asked with words.

`FilmModel` is Wan's transformer over pixels, `encode` turns prompts into what it is
shown, `read` says what a film shows.
"""

from pathlib import Path

from ..wan.configuration import config_of, weights_struct, with_dtype
from .making import make_films
from .model import FILM, FilmModel, model_from_config
from .reading import Reading, read
from .words import COLOURS, DIRECTIONS, SAID, SHAPES, VOCABULARY, encode

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "FILM",
    "SAID",
    "SHAPES",
    "VOCABULARY",
    "WEIGHTS",
    "FilmModel",
    "Reading",
    "config_of",
    "encode",
    "make_films",
    "model_from_config",
    "read",
    "weights_struct",
    "with_dtype",
]
