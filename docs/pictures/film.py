"""Draws the film of README and docs, a GIF; needs the extra ``plot``.

    python docs/pictures/film.py

The same prompts and noise with 16 calls, and with a quarter of them: by the table that
was fitted to the model, and by as many plain steps. `draw.py` beside it draws what does
not move.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import jax_stepcache
from jax_stepcache.models.film import encode

PATH = Path(__file__).with_suffix(".gif")
PROMPTS = (
    "a red circle moves left",
    "a green triangle moves up",
    "a blue square moves right",
    "a yellow cross moves down",
    "a white circle moves up",
)
WAYS: dict[str, dict[str, Any]] = {
    "16 calls": {},
    "4 of 16 calls,\ntuned": {"cache": "tuned", "budget": 4},
    "4 plain steps": {"num_inference_steps": 4},
}
_MILLISECONDS = 160


def films() -> dict[str, np.ndarray]:
    """Frames by way to sample, [prompts, frames, rows, columns, 3] in [0, 1]."""
    params = jax_stepcache.load_params("film")
    sampled = {
        name: jax_stepcache.sample(
            params, observation=encode(PROMPTS), key=jax.random.key(0), **options
        ).sample
        for name, options in WAYS.items()
    }
    return {
        name: np.asarray(params.model.decode(one)["video"])
        for name, one in sampled.items()
    }


def drawn(shown: dict[str, np.ndarray], frame: int) -> Image.Image:
    """One picture of the GIF: a frame of all films."""
    figure = Figure(figsize=(7.2, 4.5), layout="constrained", dpi=100)
    axes = figure.subplots(len(shown), len(PROMPTS))
    for line, (name, some) in zip(axes, shown.items(), strict=True):
        for axis, film in zip(line, some, strict=True):
            axis.imshow(film[frame], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, prompt in zip(axes[0], PROMPTS, strict=True):
        axis.set_title(prompt.replace(" moves", "\nmoves"), fontsize=9)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return Image.open(buffer).convert("RGB")


def main() -> None:
    """Draws the film."""
    shown = films()
    frames = next(iter(shown.values())).shape[1]
    # Few colours are enough for flat shapes, and make a small file.
    first, *rest = [
        drawn(shown, frame).quantize(128, dither=Image.Dither.NONE)
        for frame in range(frames)
    ]
    partial = PATH.with_name(f".{PATH.name}.tmp")
    first.save(
        partial,
        format="gif",
        save_all=True,
        append_images=rest,
        duration=_MILLISECONDS,
        loop=0,
        optimize=True,
    )
    partial.replace(PATH)
    print(PATH)


if __name__ == "__main__":
    main()
