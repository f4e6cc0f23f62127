"""Draws the rooms of the library and the arrows between them.

python docs/pictures/architecture.py   # writes architecture.svg beside this file

Everything comes from the code: the rooms are its folders, the words in a box are the
first line of the room's docstring, the arrows are imports. An arrow that a way over
other arrows replaces is left out, or nobody could follow one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from rooms import (
    FLOORS,
    arrows,
    imports,
    names_of_models,
    purpose,
    reduced,
    room_of,
    rooms,
)

PICTURE = Path(__file__).with_suffix(".svg")

# Pixels, in three columns.
_WIDTH, _MARGIN, _GAP, _BETWEEN = 960, 40, 28, 42
_BOX = (_WIDTH - 2 * _MARGIN - 2 * _GAP) / 3
_TITLE, _LINE, _CHIP, _PAD = 20, 16, 22, 14
_LETTERS = 38  # in a line of a box
_CHIP_LETTER = 6.9
_PORTS = 30  # between arrows at one edge

# Box and border: light, with dark letters, so that they stand out on any page.
_PAINT = {
    "ends": ("#e8eaf6", "#7986cb"),
    "many": ("#d9f0ee", "#4db6ac"),
    "core": ("#ffe9c7", "#ffa726"),
    "ground": ("#e6ebf0", "#8fa3b3"),
    "models": ("#e1f2dc", "#81b96c"),
}
_KIND = {
    "models": "models",
    **dict.fromkeys(("cli", "__init__", "pipeline", "sampling", "options"), "ends"),
    **dict.fromkeys(("backends", "calibration", "measure"), "ends"),
    **dict.fromkeys(("serving", "requests", "batching"), "many"),
    **dict.fromkeys(("loop", "policy", "solvers", "network"), "core"),
}
_INK, _FAINT, _ARROW = "#1c2733", "#45525f", "#8b97a5"
_SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
_NAME, _WORDS, _LABEL = f"700 15px {_MONO}", f"12.5px {_SANS}", f"11.5px {_MONO}"


class Box(NamedTuple):
    """A room on the page.

    Attributes:
        room: its name.
        x: its left edge, pixels; so are the others.
        y: its upper edge.
        height: its height.
        title: what is written over it.
        lines: what it is for.
        chips: the folders in it, in rows.
    """

    room: str
    x: float
    y: float
    height: float
    title: str
    lines: list[str]
    chips: list[list[str]]

    @property
    def middle(self) -> float:
        """Its middle, from the left."""
        return self.x + _BOX / 2


def boxes() -> dict[str, Box]:
    """All rooms in their places.

    Raises:
        ValueError: if there is a room that has no floor, or a floor's room is gone.
    """
    files = rooms()
    placed = {room for floor in FLOORS for room in floor if room}
    if placed != set(files):
        raise ValueError(
            f"FLOORS in {Path(__file__).with_name('rooms.py').name} lacks "
            f"{sorted(set(files) - placed)} and has too many: "
            f"{sorted(placed - set(files))}"
        )
    found: dict[str, Box] = {}
    top = _MARGIN / 2
    for floor in FLOORS:
        here = [
            _box(room, files[room], _MARGIN + column * (_BOX + _GAP), top)
            for column, room in enumerate(floor)
            if room
        ]
        height = max(box.height for box in here)
        for box in here:
            # Equally high where that is nearly so; a line in a high box looks lost.
            near = height - box.height < 2 * _CHIP
            found[box.room] = box._replace(height=height) if near else box
        top += height + _BETWEEN
    return found


def drawing() -> str:
    """The picture, as SVG."""
    placed = boxes()
    height = max(box.y + box.height for box in placed.values()) + _MARGIN / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" '
        f'width="{_WIDTH}" height="{height:g}" role="img" aria-labelledby="title">',
        '<title id="title">The rooms of jax_stepcache; arrows are imports</title>',
        f'<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" '
        f'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 1 9 5 0 9z" '
        f'fill="{_ARROW}"/></marker></defs>',
        *_arrows(placed),
        *_by_name(placed),
        *(line for box in placed.values() for line in _drawn(box)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(room: str, file: Path, x: float, y: float) -> Box:
    folder = file.parent if file.name == "__init__.py" and room != "__init__" else None
    title = (
        f"{room}/" if folder else "jax_stepcache" if room == "__init__" else file.name
    )
    inner = (
        []
        if folder is None
        else sorted(f.parent.name for f in folder.glob("*/__init__.py"))
    )
    lines = textwrap.wrap(purpose(file), _LETTERS)
    chips = _rows(inner)
    height = 2 * _PAD + _TITLE + _LINE * len(lines) + (_CHIP + 6) * len(chips) - 4
    return Box(room, x, y, height, title, lines, chips)


def _rows(names: list[str]) -> list[list[str]]:
    """Chips, as many in a row as there is room for."""
    rows: list[list[str]] = []
    left = 0.0
    for name in names:
        width = _chip_width(name) + 6
        if width > left:
            rows.append([])
            left = _BOX - 2 * _PAD + 6
        rows[-1].append(name)
        left -= width
    return rows


def _chip_width(name: str) -> float:
    return _CHIP_LETTER * len(name) + 14


def _drawn(box: Box) -> Iterator[str]:
    """A box and what is in it."""
    fill, border = _PAINT[_KIND.get(box.room, "ground")]
    x, y = box.x + _PAD, box.y + _PAD + 12
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{_BOX:g}" height="{box.height:g}" '
        f'rx="9" fill="{fill}" stroke="{border}" stroke-width="1.5"/>'
    )
    yield _text(x, y, box.title, _NAME, _INK)
    y += _TITLE
    for line in box.lines:
        yield _text(x, y, line, _WORDS, _FAINT)
        y += _LINE
    for row in box.chips:
        left = x
        for name in row:
            width = _chip_width(name)
            yield (
                f'<rect x="{left:g}" y="{y - 8:g}" width="{width:g}" height="{_CHIP}" '
                f'rx="{_CHIP / 2:g}" fill="#ffffff" fill-opacity="0.75"/>'
            )
            yield _text(left + 7, y + 7, name, _LABEL, _INK)
            left += width + 6
        y += _CHIP + 6


def _text(x: float, y: float, words: str, font: str, colour: str) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" style="font:{font}" fill="{colour}">'
        f"{escape(words)}</text>"
    )


def _arrows(placed: dict[str, Box]) -> Iterator[str]:
    """The imports, from the lower edge of a box to the upper edge of another."""
    pairs = reduced(arrows(imports()))
    leaving = {room: [b for a, b in pairs if a == room] for room in placed}
    arriving = {room: [a for a, b in pairs if b == room] for room in placed}

    def port(room: str, others: list[str], other: str) -> float:
        """Where an arrow meets the edge: side by side, in the order of their ends."""
        order = sorted(others, key=lambda one: (placed[one].x, -placed[one].y))
        aside = order.index(other) - (len(order) - 1) / 2
        return placed[room].middle + _PORTS * aside

    for start, end in pairs:
        a, b = placed[start], placed[end]
        x0, x1 = port(start, leaving[start], end), port(end, arriving[end], start)
        if a.x == b.x:  # one below the other: straight, where there is a choice
            x0, x1 = (x1, x1) if len(leaving[start]) == 1 else (x0, x0)
        yield _arrow(_curve(x0, a.y + a.height, x1, b.y - 2))


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    """A way down: straight at first, and aside in the last gap between two floors."""
    turn = max(y0, y1 - _BETWEEN)
    bend = (y1 - turn) * 0.75
    return (
        f"M{x0:g} {y0:g}V{turn:g}"
        f"C{x0:g} {turn + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"
    )


def _by_name(placed: dict[str, Box]) -> Iterator[str]:
    """The way up: a model is loaded by the name that is written in the code."""
    for room in sorted({room_of(module) for module, _ in names_of_models()}):
        a, b = placed[room], placed["models"]
        x0, y0 = a.x + _BOX, a.y + a.height / 2
        x1, y1, aside = b.x + _BOX + 2, b.y + b.height / 2, _WIDTH - _MARGIN / 2
        yield _arrow(
            f"M{x0:g} {y0:g}H{aside - 9:g}q9 0 9 -9V{y1 + 9:g}q0 -9 -9 -9H{x1:g}",
            ' stroke-dasharray="2 5" stroke-linecap="round"',
        )
        yield _text(x0 + 12, y0 - 9, "by name, when asked for", _LABEL, _ARROW)


def _arrow(path: str, more: str = "") -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{_ARROW}" stroke-width="1.8" '
        f'marker-end="url(#head)"{more}/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing())
    print(PICTURE)
