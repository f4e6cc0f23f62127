"""A summary as HTML, for notebooks: one table that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jax_stepcache.measure.summary.rows import Row
from jax_stepcache.measure.summary.text import cells_of, remarks_of

# Text has the notebook's own colour, and the rest is seen on black and on white.
_COMPUTED, _CACHED = "#3b8ed0", "rgba(128,128,128,.3)"
_CELL = "padding:.2em .6em;border:0;border-bottom:1px solid rgba(128,128,128,.3)"


def as_html(rows: Sequence[Row]) -> str:
    """The table, the steps of every row as coloured cells in its last column."""
    header, cells = cells_of(rows)
    lines = [
        _line("td", [*map(escape, line), _strip(row)])
        for row, line in zip(rows, cells, strict=True)
    ]
    return (
        '<table style="border-collapse:collapse;color:inherit;background:transparent">'
        f"<thead>{_line('th', [*map(escape, header), ''])}</thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _line(tag: str, contents: Sequence[str]) -> str:
    last = len(contents) - 1
    cells = (
        f'<{tag} style="{_CELL};text-align:{"left" if i in (0, last) else "right"}">'
        f"{content}</{tag}>"
        for i, content in enumerate(contents)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _strip(row: Row) -> str:
    steps = "".join(
        f'<span title="step {i}: {"computed" if ran else "cached"}" style="display:'
        "inline-block;width:.6em;height:1em;margin-right:1px;vertical-align:middle;"
        f'background:{_COMPUTED if ran else _CACHED}"></span>'
        for i, ran in enumerate(row.curve.computed)
    )
    remarks = "".join(f" <b>{escape(remark)}</b>" for remark in remarks_of(row))
    return (
        f'<span role="img" aria-label="{row.strip}" style="white-space:nowrap">{steps}'
        f"</span>{remarks}"
    )
