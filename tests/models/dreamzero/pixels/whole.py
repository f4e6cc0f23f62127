"""A tiny model whole."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.pixels.tiny import write_tiny

pytest.importorskip("tokenizers")
pytest.importorskip("ftfy")


@functools.cache
def tiny_folder(kind: str = "i2v") -> Path:
    """Written once; the process's temporary folder goes with the machine's."""
    return write_tiny(Path(tempfile.mkdtemp()) / "tiny", kind)


@functools.cache
def tiny(kind: str = "i2v", **settings) -> DreamZeroPipeline:
    """A pipeline of a whole folder."""
    return DreamZeroPipeline.from_folder(tiny_folder(kind), **settings)


STEPS = {"num_inference_steps": 2}
