"""What caching did, as a table and a plot: ``print(summary(result))``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax_stepcache.errors import naming_arguments
from jax_stepcache.loop.result import Stats
from jax_stepcache.measure.summary.html import as_html
from jax_stepcache.measure.summary.plot import draw
from jax_stepcache.measure.summary.rows import Row, rows_of
from jax_stepcache.measure.summary.text import as_text


@dataclass(frozen=True, repr=False)
class Summary:
    """Runs side by side: a table when printed, and in a notebook.

    Attributes:
        rows: one for each run; for each guidance branch of it, where they decided
            apart. They hold plain Python values.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        """The table as text, and every row's steps as a strip below it."""
        return as_text(self.rows)

    def _repr_html_(self) -> str:
        return as_html(self.rows)

    def plot(self, path: str | os.PathLike[str] | None = None, axes: Any = None) -> Any:
        """Draws the signal against the threshold over the steps, a panel for each run.

        A marker stands for a step, filled where the network ran. It is at the signal
        where that was compared, and else in the band below.

        Args:
            path: where to save the figure, by the ending of its name (PNG without
                one), under a temporary name first; its folder is made. None saves
                nothing.
            axes: matplotlib axes to draw into, one for each run; None makes a figure.

        Returns:
            The matplotlib figure.

        Raises:
            ImportError: without matplotlib.
            ValueError: for axes that are not as many as the runs.
        """
        return draw(self.rows, path, axes)


@naming_arguments()
def summary(*results: Any, names: Sequence[str] | None = None) -> Summary:
    """Summarises runs: steps computed and cached, and quantiles of the signal.

    Args:
        *results: `SampleResult`, `Stats`, or whatever has ``stats`` (a control step of
            DreamZero), each of one run with bool[num_steps] steps.
        names: what to call them; None for ``run``, or ``run 1``, ``run 2``, ...

    Returns:
        The summary; `print` it, or call its ``plot``.

    Raises:
        TypeError: for what is no result.
        ValueError: for no result, for one that is traced or a batch, or for names that
            are not as many.
    """
    if not results:
        raise ValueError("there is nothing to summarise: give summary(result, ...)")
    if names is None:
        several = len(results) > 1
        names = [f"run {i + 1}" if several else "run" for i in range(len(results))]
    if isinstance(names, str) or len(names) != len(results):
        raise ValueError(
            f"names is {names!r}; give a list of {len(results)}, one for each result"
        )
    return Summary(
        tuple(
            row
            for i, (result, name) in enumerate(zip(results, names, strict=True))
            for row in rows_of(i, str(name), _stats(result))
        )
    )


def _stats(result: Any) -> Stats:
    stats = result if isinstance(result, Stats) else getattr(result, "stats", None)
    if not isinstance(stats, Stats):
        raise TypeError(
            f"summary takes what sampling returns (or its stats), several as "
            f"summary(*results); this is a {type(result).__name__}"
        )
    return stats


__all__ = ["Row", "Summary", "summary"]
