"""What a command has made of words, told: statistics, the table, and the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.measure.summary import summary


def tell(made: Mapping[Path, Any], what: str, cache: str, slots: int | None) -> None:
    """Prints what was made.

    Args:
        made: films or pictures, by their files.
        what: what they are called.
        cache: which cache, as it was asked for.
        slots: how many were made side by side; None for one batch.
    """
    for one in made.values():
        print(one)
    # In slots each decides for itself; a batch decides as one.
    rows = {path.name: one for path, one in made.items()}
    if slots is None:
        rows = {cache: next(iter(made.values()))}
    print(f"\n{summary(*rows.values(), names=list(rows))}\n")
    print(f"{what}: {', '.join(map(str, made))}")
