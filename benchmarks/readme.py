"""Writes the README's tables from the benchmarks' results, so that they cannot differ.

python benchmarks/readme.py           # prints them
python benchmarks/readme.py --write   # puts them into README.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BUDGETS = (4, 5, 6, 8)
# Of each backend one row is shown: the best of those that make no more calls than this.
MOST_CALLS = 6.5
SHARED = ("uncached", "tuned", "fewer_steps")


def frontier_tables(rows: list[dict[str, Any]]) -> str:
    """A table for each model, as Markdown."""
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(
        f"`{model}`:\n\n" + model_table([r for r in rows if r["model"] == model])
        for model in models
    )


def model_table(rows: list[dict[str, Any]]) -> str:
    """The rows of one model that a reader should see first, as Markdown."""
    (uncached,) = (row for row in rows if row["policy"] == "uncached")
    # Nothing is shown of what was not measured, nor of how far a sample is from itself.
    figures: dict[str, Callable[[dict[str, Any]], str | None]] = {
        "calls": lambda row: f"{row['calls']:.2f}",
        "operations": lambda row: f"{row['flops'] / uncached['flops']:.0%}",
        "PSNR": lambda row: row["psnr"] and f"{row['psnr']:.1f} dB",
        "action RMSE": lambda row: (
            row["action_rmse"] and f"{row['action_rmse'] * 1e3:.2f}e-3"
        ),
        "success": lambda row: (
            None if row["success"] is None else f"{row['success']:.3f}"
        ),
        "time": lambda row: f"{row['seconds'] * 1e3:.0f} ms",
    }
    chosen = choose(rows)
    # A model that does not act has no columns for it.
    kept = {k: f for k, f in figures.items() if any(f(row) for row in chosen)}
    lines = [
        f"| policy | forecast | {' | '.join(kept)} |",
        f"|---|---|{'--:|' * len(kept)}",
    ]
    lines += [
        f"| {row['policy']} | {row['forecast']} | "
        f"{' | '.join(figure(row) or '-' for figure in kept.values())} |"
        for row in chosen
    ]
    return "\n".join(lines)


def choose(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Picks one model's rows: one of each backend, then tuned ones beside plain steps.

    Of a backend the one nearest to the uncached sample that makes 6 calls or so, or
    the cheapest where none does with so few.
    """
    by_backend: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_backend.setdefault(backend(row), []).append(row)
    chosen = list(by_backend["uncached"])
    for name, some in by_backend.items():
        if name in SHARED:
            continue
        few = [row for row in some if row["calls"] <= MOST_CALLS]
        chosen.append(
            max(few, key=lambda row: row["psnr"])
            if few
            else min(some, key=lambda row: row["calls"])
        )
    for budget in BUDGETS:
        chosen += [row for row in rows if row["policy"] == f"tuned {budget}"]
        chosen += [
            row
            for row in by_backend["fewer_steps"]
            if (row["solver"], row["calls"]) == ("unipc", budget)
        ]
    return chosen


def backend(row: dict[str, Any]) -> str:
    """The backend of a row, the first word of its policy."""
    return row["policy"].split()[0].rstrip(",")


def overhead_table(rows: dict[str, dict[str, Any]], device: str) -> str:
    """What a cache costs besides its model calls, as Markdown."""
    lines = [
        f"Measured on {device}:",
        "",
        "| cache | calls | speed-up | efficiency | matrix products, uncached / "
        "cached | memory, in velocities | traces in a sweep |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {row['calls_cached']} of {row['calls_uncached']} | "
        f"{row['speedup']:.2f}x | {row['efficiency']:.3f} | {row['dots_uncached']} / "
        f"{row['dots_cached']} | {row['temp_velocities']:.1f} | {row['traces']} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def batching_table(result: dict[str, Any], device: str) -> str:
    """Network calls of the ways to batch, as Markdown."""
    ways = {
        "the ideal: all calls, shared out over the slots": "ideal_calls",
        "`sample_many`": "calls",
        "groups that wait for their slowest": "waiting_groups_calls",
        "the same, sorted by step count": "sorted_groups_calls",
        "groups by step count that decide together": "batch_mean_calls",
    }
    models = result["models"]
    each = [f"{row['requests']} requests" for row in models.values()]
    lines = [
        f"Measured on {device}, {result['slots']} slots:",
        "",
        f"| network calls | {' | '.join(f'`{name}`' for name in models)} |",
        f"|---|{'--:|' * len(models)}",
        f"| | {' | '.join(each)} |",
    ]
    for label, name in ways.items():
        figures = [
            f"{row[name]:g} ({row[name] / row['ideal_calls']:.2f})"
            for row in models.values()
        ]
        lines.append(f"| {label} | {' | '.join(figures)} |")
    gains = {
        "throughput, against groups that wait": "waiting_groups_seconds",
        "throughput, against one by one": "one_by_one_seconds",
    }
    for label, name in gains.items():
        figures = [f"{row[name] / row['many_seconds']:.2f}x" for row in models.values()]
        lines.append(f"| {label} | {' | '.join(figures)} |")
    redecided = [
        f"{row['batch_mean_redecided']}, {row['batch_mean_psnr']:.0f} dB"
        for row in models.values()
    ]
    lines.append(
        "| requests that deciding together changes, and how near the samples stay "
        f"| {' | '.join(redecided)} |"
    )
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marker that they stand behind."""
    about = json.loads((RESULTS / "overhead.about.json").read_text())
    batched = json.loads((RESULTS / "batching.about.json").read_text())
    return {
        "batching": batching_table(
            json.loads((RESULTS / "batching.json").read_text()), batched["device"]
        ),
        "frontier": frontier_tables(
            json.loads((RESULTS / "frontier.json").read_text())
        ),
        "overhead": overhead_table(
            json.loads((RESULTS / "overhead.json").read_text()), about["device"]
        ),
    }


def filled(readme: str) -> str:
    """The README with its tables made anew."""
    for name, table in tables().items():
        block = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        readme, count = re.subn(
            block,
            lambda found, table=table: f"{found[1]}{table}\n{found[2]}",
            readme,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"README.md has {count} places for the {name} table")
    return readme


def main() -> None:
    """Prints the tables, or puts them into the README."""
    parser = argparse.ArgumentParser(description="The README's tables.")
    parser.add_argument("--write", action="store_true", help="put them into README.md")
    if parser.parse_args().write:
        temporary = README.with_suffix(".tmp")
        temporary.write_text(filled(README.read_text()))
        os.replace(temporary, README)
    else:
        print("\n\n".join(tables().values()))


if __name__ == "__main__":
    main()
