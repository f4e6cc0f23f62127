"""The best cache that decides by the sample, beside as many network calls.

At as many calls it may run part of the network at its skipped steps, too, so that it
costs more; at as many operations it makes fewer calls. Both are told, and of each cache
its own calls and operations. No settings come to a number of calls exactly, so one
that is a little above may stand for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
NUM_STEPS = 16
# How far above a number of calls, and above its share of the operations, a cache may
# be and still stand for it.
CALLS_ABOVE, SHARE_ABOVE = 0.15, 0.02
# Backends whose steps are known before a sample is seen; a mask of cache-dit's, too.
_KNOWN_BEFORE = ("static", "taylor_seer", "hi_cache", "cfg_cache")
_NO_CACHE = ("uncached", "fewer_steps", "tuned", "bespoke")
Pick = Callable[[Sequence[Row], str, int], Row | None]


def decides(row: Row) -> bool:
    """Whether a row of `frontier.py` is of a cache that decides by the sample."""
    known = (*_NO_CACHE, *_KNOWN_BEFORE)
    return _backend(row) not in known and not _masked(row)


def at_calls(rows: Sequence[Row], model: str, n: int) -> Row | None:
    """The best cache that decides by the sample and makes as many calls, or fewer."""
    own = [row for row in _of(rows, model) if decides(row)]
    return _best([row for row in own if row["calls"] <= n + CALLS_ABOVE])


def at_operations(rows: Sequence[Row], model: str, n: int) -> Row | None:
    """The best cache that decides by the sample and costs as many whole calls."""
    return _best(list(filter(decides, _within(rows, model, n))))


def known_before(rows: Sequence[Row], model: str, n: int) -> Row | None:
    """Likewise of the published caches that decide nothing by the sample."""
    return _best(
        [
            row
            for row in _within(rows, model, n)
            if _backend(row) in _KNOWN_BEFORE or _masked(row)
        ]
    )


def gated_tables(rows: Sequence[Row], calls: Sequence[int]) -> str:
    """For each model the best caches at each number of calls, as Markdown.

    Args:
        rows: what `frontier.py` has written.
        calls: the numbers.

    Returns:
        The tables.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(_model(rows, model, calls) for model in models)


def share(rows: Sequence[Row], row: Row) -> float:
    """A row's operations as a share of the uncached ones."""
    (whole,) = (
        one["flops"]
        for one in rows
        if (one["model"], one["policy"]) == (row["model"], "uncached")
    )
    return row["flops"] / whole


def _model(rows: Sequence[Row], model: str, calls: Sequence[int]) -> str:
    picks: dict[str, Pick] = {
        "best gated cache, as many calls": at_calls,
        "best gated cache, as many operations": at_operations,
        "steps known before, as many operations": known_before,
    }
    lines = [
        f"`{model}`, PSNR in dB (calls, operations):",
        "",
        f"| calls | operations | plain UniPC | {' | '.join(picks)} | bespoke |",
        f"|--:|--:|{'--:|' * (len(picks) + 2)}",
    ]
    for n in calls:
        found = [pick(rows, model, n) for pick in picks.values()]
        if not any(found):
            continue
        cells = [_cell(rows, row) for row in found]
        plain, table = (
            _whole(rows, model, n, name) for name in ("fewer_steps", "bespoke")
        )
        lines.append(
            f"| {n} | {n / NUM_STEPS:.1%} | {plain} | {' | '.join(cells)} | {table} |"
        )
    return "\n".join(lines)


def _cell(rows: Sequence[Row], row: Row | None) -> str:
    if row is None:
        return "-"
    spent = f"{row['calls']:.2f}, {share(rows, row):.1%}"
    return f"{row['psnr']:.1f}, `{_backend(row)}` ({spent})"


def _whole(rows: Sequence[Row], model: str, n: int, name: str) -> str:
    """PSNR of what makes whole calls and nothing else."""
    found = [
        row["psnr"]
        for row in _of(rows, model)
        if (_backend(row), row["calls"]) == (name, n)
        and row["solver"] in ("unipc", "table")
    ]
    return f"{found[0]:.1f}" if found else "-"


def _of(rows: Sequence[Row], model: str) -> list[Row]:
    return [row for row in rows if row["model"] == model and row["psnr"] is not None]


def _within(rows: Sequence[Row], model: str, n: int) -> list[Row]:
    most = n / NUM_STEPS + SHARE_ABOVE
    return [row for row in _of(rows, model) if share(rows, row) <= most]


def _best(rows: Sequence[Row]) -> Row | None:
    return max(rows, key=lambda row: row["psnr"], default=None)


def _masked(row: Row) -> bool:
    return ", mask " in row["policy"]


def _backend(row: Row) -> str:
    return row["policy"].split()[0].rstrip(",")
