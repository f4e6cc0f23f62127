"""What can be asked for; needs no JAX."""

from __future__ import annotations

from typing import NamedTuple

# Programs in which requests have slots.
MANY = ("slots", "queue")
BUNDLED, ROBOTS = ("tabletop", "dit"), ("wan22-5b", "droid-14b")


class Ask(NamedTuple):
    """What to compile.

    Attributes:
        model: one of `BUNDLED` and `ROBOTS`.
        program: ``"sample"``; ``"slots"``, what `sample_many` and `step_many` run for
            as many requests as slots; ``"queue"``, what they run for more, and `serve`;
            or, of robots, ``"observe"``.
        cache: a cache's name, or ``"none"``.
        decide: ``"batch"`` or ``"sample"``.
        attention: of robots: ``"cudnn"`` or ``"xla"``.
        layers: ``"apart"`` or ``"stacked"``.
        rows: samples, or robots, or slots.
        rules: on several devices, a preset's name.
    """

    model: str
    program: str = "sample"
    cache: str = "step_cache"
    decide: str = "batch"
    attention: str = "cudnn"
    layers: str = "apart"
    rows: int = 1
    rules: str | None = None
