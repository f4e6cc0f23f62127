"""Pictures of what was sampled: a PNG with frames side by side, a GIF of a rollout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.measure.compare import Comparison
from jax_stepcache.paths import as_path


def save_comparison(
    path: Path, rows: Sequence[Comparison], model: Any, observation: Any
) -> None:
    """Draws the predicted frames of each contender, one below the other.

    Args:
        path: the PNG; its folder is made.
        rows: the contenders; the first is the reference.
        model: the model, whose ``decode`` gives the frames.
        observation: what it was shown; its ``image``, if it has one, stands at the
            left.

    Raises:
        ImportError: without matplotlib.
    """
    figure_type, canvas = _matplotlib()
    frames = [np.asarray(model.decode(row.result.sample)["video"])[0] for row in rows]
    seen = [np.asarray(observation["image"])[0]] if "image" in observation else []
    columns = len(seen) + len(frames[0])
    figure = figure_type(figsize=(2.4 + 1.9 * columns, 1.95 * len(rows)))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, predicted, line in zip(rows, frames, axes, strict=True):
        for axis, image in zip(line, [*seen, *predicted], strict=True):
            axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        calls = int(row.result.stats.model_calls)
        quality = "" if row is rows[0] else f"\n{row.psnr:.1f} dB"
        label = f"{row.name}\n{calls} calls, {row.speedup:.1f}x{quality}"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    for i, axis in enumerate(axes[0]):
        number = i + 1 - len(seen)
        axis.set_title(f"predicted {number}" if number else "observed", fontsize=9)
    figure.tight_layout()
    _write(path, lambda temporary: canvas(figure).print_png(temporary))


def save_gif(path: Path, frames: np.ndarray, scale: int = 6) -> None:
    """Writes frames as an animated GIF.

    Args:
        path: the GIF; its folder is made.
        frames: [time, height, width, 3] in [0, 1].
        scale: screen pixels for each of the frame's.

    Raises:
        ImportError: without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(_MISSING) from error
    large = np.kron(np.clip(frames, 0, 1), np.ones((1, scale, scale, 1)))
    first, *rest = [Image.fromarray((x * 255).astype(np.uint8)) for x in large]
    _write(
        path,
        lambda temporary: first.save(
            temporary,
            format="gif",
            save_all=True,
            append_images=rest,
            duration=150,
            loop=0,
        ),
    )


_MISSING = "pictures need matplotlib and Pillow: pip install 'jax-stepcache[plot]'"


def _matplotlib() -> tuple[Any, Any]:
    # No pyplot: its figures and backend are global state, and a notebook has its own.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return Figure, FigureCanvasAgg


def _write(path: Path, save: Any) -> None:
    path = as_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
