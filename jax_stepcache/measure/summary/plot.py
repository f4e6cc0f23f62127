"""The signal against the threshold over the steps."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.measure.summary.rows import Row
from jax_stepcache.paths import as_path

_COLOURS = ("tab:blue", "tab:orange")
_BAND = {"facecolor": "gray", "edgecolor": "none", "alpha": 0.15}
_MISSING = "plots need matplotlib: pip install 'jax-stepcache[plot]'"


def draw(rows: Sequence[Row], path: str | os.PathLike[str] | None, axes: Any) -> Any:
    """Draws rows, those of one run into one panel; see `Summary.plot`."""
    try:
        # No pyplot: its figures are global state, and a notebook would show them twice.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(_MISSING) from error
    runs = [list(group) for _, group in groupby(rows, key=lambda row: row.run)]
    if axes is None:
        heights = [2.4 if _compares(run) else 1.2 for run in runs]
        figure: Any = Figure(figsize=(8, 0.3 + sum(heights)), layout="constrained")
        # A notebook that has not imported pyplot shows figures as text.
        figure._repr_png_ = partial(_png, figure)
        axes = figure.subplots(len(runs), squeeze=False, height_ratios=heights)
    panels = np.asarray(axes, object).ravel()
    if len(panels) != len(runs):
        raise ValueError(
            f"there are {len(panels)} axes for {len(runs)} runs; give one for each"
        )
    for run, axis in zip(runs, panels, strict=True):
        _panel(axis, run)
    panels[-1].set_xlabel("step")
    figure = panels[0].get_figure()
    if path is not None:
        _save(figure, as_path(path))
    return figure


def _panel(axis: Any, branches: Sequence[Row]) -> None:
    from matplotlib.ticker import MaxNLocator

    colours = _COLOURS[: len(branches)]
    for row, colour in zip(branches, colours, strict=True):
        _series(axis, row, colour)
    axis.set_title(branches[0].name, loc="left", fontsize=10, parse_math=False)
    axis.set_xlim(-0.7, branches[0].steps - 0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _compares(branches):
        axis.set_ylabel("signal")
        band = _band(axis, branches)
    else:
        axis.set_yticks([])
        band = 1.0
    for i, (row, colour) in enumerate(zip(branches, colours, strict=True)):
        height = band * (1 - (i + 0.5) / len(branches))
        _not_compared(axis, row, colour, height)
    axis.legend(
        handles=_keys(branches, colours),
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )


def _series(axis: Any, row: Row, colour: str) -> None:
    signal = np.array(row.curve.signal, float)
    signal[~np.isfinite(signal)] = np.nan
    known = np.flatnonzero(~np.isnan(signal))
    if known.size:
        axis.plot(known, signal[known], color=colour, linewidth=1, alpha=0.5)
        _markers(axis, row, signal, known, colour)
    if len(row.thresholds) == 1:
        axis.axhline(row.thresholds[0], **_threshold(colour))
    elif row.thresholds:
        threshold = np.array(row.curve.threshold, float)
        at = np.flatnonzero(~np.isnan(threshold))
        axis.plot(at, threshold[at], drawstyle="steps-mid", **_threshold(colour))


def _band(axis: Any, branches: Sequence[Row]) -> float:
    """Makes room below the signal, a line for each branch: a share of the panel."""
    from matplotlib.patches import Rectangle

    if not any(_blind(row) for row in branches):
        return 0.0
    share = 0.14 * len(branches)
    low, high = axis.get_ylim()
    ticks = [y for y in axis.get_yticks() if low <= y <= high]
    axis.set_yticks(ticks)
    axis.set_ylim(high - (high - low) / (1 - share), high)
    box = {"transform": axis.transAxes, "zorder": 0}
    axis.add_patch(Rectangle((0, 0), 1, share, **_BAND, **box))
    return share


def _not_compared(axis: Any, row: Row, colour: str, height: float) -> None:
    # Steps along the axis, and the height as a share of the panel.
    across = axis.get_xaxis_transform()
    heights = np.full(row.steps, height)
    _markers(axis, row, heights, _blind(row), colour, transform=across)


def _markers(
    axis: Any, row: Row, heights: Any, steps: Any, colour: str, **options: Any
) -> None:
    for ran in (True, False):
        at = [i for i in steps if row.curve.computed[i] == ran]
        axis.plot(at, heights[at], **_marker(colour, ran), **options)


def _marker(colour: str, ran: bool) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": 5,
        "color": colour,
        "markerfacecolor": colour if ran else "none",
    }


def _threshold(colour: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": "--", "linewidth": 1}


def _keys(branches: Sequence[Row], colours: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = []
    for row, colour in zip(branches, colours, strict=True):
        if row.branch is not None:
            keys.append(Line2D([], [], color=colour, label=row.branch))
    keys.append(Line2D([], [], **_marker("gray", True), label="computed"))
    keys.append(Line2D([], [], **_marker("gray", False), label="cached"))
    if any(row.thresholds for row in branches):
        keys.append(Line2D([], [], **_threshold("gray"), label="threshold"))
    if _compares(branches) and any(_blind(row) for row in branches):
        keys.append(Patch(**_BAND, label="not compared"))
    return keys


def _compares(branches: Sequence[Row]) -> bool:
    return any(row.signal for row in branches)


def _blind(row: Row) -> list[int]:
    """Steps without a signal to draw."""
    signal = np.array(row.curve.signal, float)
    return np.flatnonzero(~np.isfinite(signal)).tolist()


def _png(figure: Any) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        return file.getvalue()


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format=path.suffix[1:] or "png")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
