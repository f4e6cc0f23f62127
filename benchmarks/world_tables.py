"""The table of Meta-World's episodes, as Markdown."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "uncached": "uncached",
    "step_cache": "StepCache as published",
    "plain-4": "plain fewer steps",
    "schedule-4": "a searched schedule",
    "bespoke-4": "`tuned`: a fitted table",
    "served-4": "the same, through the policy server",
}


def metaworld_table(rows: dict[str, dict[str, Any]], device: str) -> str:
    """Success of each way, by task and on average, and how far behind uncached.

    Args:
        rows: what `meta_world.py` has written.
        device: that it was measured on.

    Returns:
        The table.
    """
    names = list(next(iter(rows.values()))["tasks"])
    lines = [
        f"{_episodes(rows)} episodes of each way, the same ones, with standard errors; "
        f"those of the difference are of pairs. A control step is one robot's, on "
        f"{device}:",
        "",
        f"| | calls a control step | its time | {' | '.join(names)} | average | "
        "behind uncached |",
        f"|---|--:|--:|{'--:|' * len(names)}--:|--:|",
    ]
    for way, row in rows.items():
        each = [_share(row["tasks"][name]) for name in names]
        spent = f"{row['latency_ms']:.0f} ms" if "latency_ms" in row else "-"
        lines.append(
            f"| {_WORDS[way]} | {row['model_calls']:.1f} | {spent} | "
            f"{' | '.join(each)} | {_share(row)} | {_behind(row)} |"
        )
    return "\n".join(lines)


def metaworld_short_table(rows: dict[str, dict[str, Any]]) -> str:
    """The average alone, for the front page.

    Args:
        rows: what `meta_world.py` has written.

    Returns:
        The table.
    """
    _episodes(rows)
    rows = {way: row for way, row in rows.items() if way != "served-4"}
    each = rows.values()
    names = [f"{_WORDS[way]} ({row['model_calls']:.1f})" for way, row in rows.items()]
    figures = {
        "success": [_share(row) for row in each],
        "behind uncached": [_behind(row) for row in each],
    }
    lines = [f"| calls of the network | {' | '.join(names)} |"]
    lines.append(f"|---|{'--:|' * len(rows)}")
    lines += [f"| {name} | {' | '.join(some)} |" for name, some in figures.items()]
    return "\n".join(lines)


def _episodes(rows: dict[str, dict[str, Any]]) -> int:
    """How many all have played; figures of different ones are no rows of a table."""
    each = {way: row.get("episodes", 0) for way, row in rows.items()}
    if len(set(each.values())) != 1 or not all(each.values()):
        raise ValueError(f"{each} episodes: benchmarks/meta_world.py goes on")
    return next(iter(each.values()))


def _behind(row: dict[str, Any]) -> str:
    if "behind" not in row:
        return "-"
    points, error = 100 * row["behind"], 100 * row["behind_error"]
    return f"{points:.1f} ± {error:.1f} points"


def _share(row: dict[str, Any]) -> str:
    if row["success"] == 1.0:  # whose standard error says nothing
        return f"{row['episodes']} of {row['episodes']}"
    return f"{row['success']:.0%} ± {row['success_error']:.0%}"
