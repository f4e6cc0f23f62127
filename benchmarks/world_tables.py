"""The table of Meta-World's episodes, as Markdown."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "uncached": "uncached",
    "step_cache": "StepCache as published",
    "plain-4": "plain fewer steps",
    "tuned-4": "`tuned`",
    "bespoke-4": "`bespoke`",
}


def metaworld_table(rows: dict[str, dict[str, Any]], device: str) -> str:
    """Success of each way, by task and on average, and how far behind uncached.

    Args:
        rows: what `meta_world.py` has written.
        device: that it was measured on.

    Returns:
        The table.
    """
    first = next(iter(rows.values()))
    names = list(first["tasks"])
    episodes = min(row["episodes"] for row in rows.values())
    lines = [
        f"{episodes} episodes of each way, the same ones, with standard errors; those "
        f"of the difference are of pairs. A control step is one robot's, on {device}:",
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


def _behind(row: dict[str, Any]) -> str:
    if "behind" not in row:
        return "-"
    points, error = 100 * row["behind"], 100 * row["behind_error"]
    return f"{points:.1f} ± {error:.1f} points"


def _share(row: dict[str, Any]) -> str:
    return f"{row['success']:.0%} ± {row['success_error']:.0%}"
