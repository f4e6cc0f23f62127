"""What can be asked for; needs no JAX."""

from __future__ import annotations

from typing import NamedTuple

# Programs in which requests have slots.
MANY = ("slots", "queue")
BUNDLED, ROBOTS = ("tabletop", "dit"), ("wan22-5b", "droid-14b")
OF_MODELS = ("sample", *MANY, "observe")
# Models of films, at their releases' own sizes and steps.
FILMS = ("wan2.1-t2v-1.3b", "wan2.2-ti2v-5b", "wan2.2-t2v-a14b")
EXPERTS = ("wan2.2-t2v-a14b",)
# What they are asked for: a film; of two experts the steps of one, while the other is
# on the host; the frames of latents.
OF_FILMS = ("sample", "expert", "decode")
# Around the robots' models, and the programs that they are asked for: a prompt; a
# picture; the frames since the last step, a window's first frame, a window's film.
ENCODERS = {
    "umt5-xxl": ("encode",),
    "clip-vit-h-14": ("encode",),
    "wan-vae-2.1": ("encode", "begin", "decode"),
    "wan-vae-2.2": ("encode", "begin", "decode"),
}


class Ask(NamedTuple):
    """What to compile.

    Attributes:
        model: one of `BUNDLED`, `ROBOTS`, `FILMS` and `ENCODERS`.
        program: ``"sample"``; ``"slots"``, what `sample_many` and `step_many` run for
            as many requests as slots; ``"queue"``, what they run for more, and `serve`;
            of robots, ``"observe"``; of films and encoders, see there.
        cache: a cache's name, or ``"none"``.
        decide: ``"batch"`` or ``"sample"``.
        attention: of robots and films: ``"cudnn"`` or ``"xla"``.
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
