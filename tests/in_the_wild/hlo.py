"""Reading optimized programs: what a loop copies at a step that is skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|body|condition|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\[([\d,]*)\]")
_COPIES = re.compile(r"= .*? (?:copy|copy-start|copy-done)\(")


def computations(hlo: str) -> dict[str, list[str]]:
    """The instructions of each computation of a program, by its name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in hlo.splitlines():
        begins = _COMPUTATION.match(line)
        if begins:
            name = begins[1]
            found[name] = []
        elif name and " = " in line:
            found[name].append(line)
    return found


def copied_at_a_skipped_step(hlo: str) -> list[int]:
    """Bytes of each array that is copied at a step whose network call is skipped.

    Args:
        hlo: text of an optimized program with one conditional, in a loop, whose first
            branch skips.

    Returns:
        The bytes, of copies in the loop's body and in that branch.
    """
    known = computations(hlo)
    ((body, line),) = (
        (name, line)
        for name, lines in known.items()
        for line in lines
        if " conditional(" in line
    )
    branches = _BRANCHES.search(line)
    assert branches, line
    skip, _run = (name.strip().lstrip("%") for name in branches[1].split(","))
    return [*_copied(known, body), *_copied(known, skip)]


def _copied(known: Mapping[str, list[str]], name: str) -> Iterator[int]:
    for line in known[name]:
        if _COPIES.search(line):
            yield _bytes(line)
        for called in _CALLED.findall(line):
            yield from _copied(known, called)


def _bytes(line: str) -> int:
    """Of what an instruction gives."""
    given = line.split(" = ", 1)[1]
    array = _ARRAY.match(given.lstrip("("))
    assert array, line
    bits = int(array[2] or 8)
    return prod(map(int, filter(None, array[3].split(",")))) * bits // 8
