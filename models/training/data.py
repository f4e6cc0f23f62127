"""A look through what a run is to learn from, before anything is compiled."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Numbers looked at together: what the look allocates is small beside a data set.
_NUMBERS = 1 << 22
_LISTED = 8


class Seen(NamedTuple):
    """What a look through an array has found.

    Attributes:
        faults: a line for each kind of fault.
        checksum: of the array's bytes; other data have another.
    """

    faults: list[str]
    checksum: int


def look_through(
    name: str,
    array: Any,
    *,
    limits: tuple[float, float] | None = None,
    hint: str = "",
) -> Seen:
    """Reads an array once, part by part, and finds the rows that nothing can learn.

    Args:
        name: what it is called, such as its file's name.
        array: floating [rows, ...], in memory or mapped into it.
        limits: what its numbers must lie between, both included; None for any.
        hint: what to do about those that do not.

    Returns:
        The faults: numbers that are not finite, or would not be in float32, in which
        networks are trained, and numbers out of the limits, with their rows.
    """
    rows = len(array)
    each = max(1, int(np.prod(array.shape[1:], dtype=np.int64)))
    step = max(1, _NUMBERS // each)
    not_finite: list[int] = []
    outside: list[int] = []
    first: dict[str, str] = {}
    checksum = 0
    for start in range(0, rows, step):
        part = np.ascontiguousarray(array[start : start + step])
        checksum = zlib.crc32(part.reshape(-1).view(np.uint8).data, checksum)
        with np.errstate(over="ignore"):
            numbers = part.astype(np.float32).reshape(len(part), -1)
        finite = np.isfinite(numbers)
        _note(part, ~finite, start, not_finite, first, "finite")
        if limits is not None:
            kept = (numbers >= limits[0]) & (numbers <= limits[1])
            _note(part, finite & ~kept, start, outside, first, "limits")
    faults = []
    if not_finite:
        faults.append(f"not finite: {name} has {first['finite']}{_more(not_finite)}")
    if outside and limits is not None:
        low, high = limits
        faults.append(
            f"range: {name} leaves [{low:g}, {high:g}]: {first['limits']}"
            f"{_more(outside)}{hint and f'; {hint}'}"
        )
    return Seen(faults, checksum)


def rows_in_words(rows: Sequence[int]) -> str:
    """Numbers of rows as people read them: all where they are few."""
    listed = ", ".join(str(int(row)) for row in rows[:_LISTED])
    if len(rows) > _LISTED:
        listed += f" and {len(rows) - _LISTED} more"
    return f"row{'s' if len(rows) > 1 else ''} {listed}"


def _note(
    part: np.ndarray,
    wrong: np.ndarray,
    start: int,
    rows: list[int],
    first: dict[str, str],
    what: str,
) -> None:
    """Adds the rows with something wrong, and words for the first of it."""
    found = np.flatnonzero(wrong.any(axis=1))
    if found.size and what not in first:
        row = int(found[0])
        place = np.unravel_index(int(np.argmax(wrong[row])), part.shape[1:])
        inside = f", at {[int(i) for i in place]}" if place else ""
        value = part[(row, *place)]
        first[what] = f"{float(value):g} in row {start + row}{inside}"
    rows += [start + int(row) for row in found]


def _more(rows: Sequence[int]) -> str:
    return f" (and in {rows_in_words(rows[1:])})" if len(rows) > 1 else ""
