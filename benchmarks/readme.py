"""Writes the README's tables from the benchmarks' results, so that they cannot differ.

python benchmarks/readme.py           # prints them
python benchmarks/readme.py --write   # puts them into README.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BUDGETS = (4, 5, 6, 8)


def frontier_table(rows: list[dict[str, Any]]) -> str:
    """The rows of the frontier that a reader should see first, as Markdown."""
    found = {
        (row["policy"], row["forecast"], row["solver"], row["calls"]): row
        for row in rows
    }
    chosen = [found["fewer_steps", "none", "unipc", 16.0]]
    chosen += [
        row
        for row in rows
        if row["policy"].startswith("step_cache")
        and row["forecast"] in ("hold", "linear", "linear_x0")
    ]
    chosen += [row for row in rows if row["policy"].startswith("static")]
    for budget in BUDGETS:
        chosen += [row for row in rows if row["policy"] == f"tuned {budget}"]
        chosen.append(found["fewer_steps", "none", "unipc", float(budget)])
    lines = [
        "| policy | forecast | model calls | video PSNR | action RMSE | success |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in chosen:
        exact = row["policy"] == "fewer_steps" and row["calls"] == 16
        psnr = "-" if exact else f"{row['psnr']:.1f} dB"
        rmse = "-" if exact else f"{row['action_rmse'] * 1e3:.2f}e-3"
        lines.append(
            f"| {'uncached' if exact else row['policy']} | {row['forecast']} | "
            f"{row['calls']:.2f} | {psnr} | {rmse} | {row['success']:.3f} |"
        )
    return "\n".join(lines)


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


def tables() -> dict[str, str]:
    """All tables, by the marker that they stand behind."""
    about = json.loads((RESULTS / "overhead.about.json").read_text())
    return {
        "frontier": frontier_table(json.loads((RESULTS / "frontier.json").read_text())),
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
