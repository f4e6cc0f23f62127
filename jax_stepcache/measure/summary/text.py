"""A summary's cells, and the table of them as text."""

from __future__ import annotations

from collections.abc import Sequence

from jax_stepcache.measure.summary.rows import Quantiles, Row
from jax_stepcache.measure.table import table

NON_FINITE = "NON-FINITE VALUES"


def cells_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of every row, the label first, without the strip."""
    header = ["", "steps", "calls", "computed", "cached", "share", "in a row"]
    header += ["min", "25%", "50%", "75%", "95%", "max", "threshold"]
    cells = [
        [
            row.label,
            str(row.steps),
            str(row.calls),
            str(row.computed),
            str(row.cached),
            f"{row.share:.0%}",
            str(row.longest),
            *map(_number, row.signal or [None] * len(Quantiles._fields)),
            _range(row.thresholds),
        ]
        for row in rows
    ]
    # Only branches that decided apart make the network run where one did not ask.
    if all(row.branch is None for row in rows):
        for line in (header, *cells):
            del line[2]
    return header, cells


def as_text(rows: Sequence[Row]) -> str:
    """The table, and the steps of every row as a strip below it."""
    width = max(len(row.label) for row in rows)
    strips = [
        "  ".join([f"{row.label:<{width}}", row.strip, *remarks_of(row)])
        for row in rows
    ]
    return "\n".join([table(*cells_of(rows)), "", *strips])


def remarks_of(row: Row) -> list[str]:
    """What is to be said of a row beside its numbers."""
    unused = [] if row.unused is None else [f"nothing skipped: {row.unused}"]
    return unused + [NON_FINITE] * row.nonfinite


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.4g}"


def _range(thresholds: Sequence[float]) -> str:
    if not thresholds:
        return "-"
    ends = dict.fromkeys([thresholds[0], thresholds[-1]])
    return " to ".join(map(_number, ends))
