"""Writes the tables of README and docs from the results, so that they cannot differ.

A table stands in one page, between ``<!-- name -->`` and ``<!-- /name -->``.

python benchmarks/tables.py           # prints them
python benchmarks/tables.py --write   # puts them into the pages
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from few_tables import (
    few_calls_tables,
    gpu_fitting_table,
    scales_table,
    table_overhead_table,
)
from film_tables import film_quality_table
from gpu_tables import (
    gpu_encoders_table,
    gpu_films_table,
    gpu_meshes_table,
    gpu_others_table,
    gpu_program_table,
    gpu_training_table,
)
from robot_tables import dreamzero_table, pixels_table
from server_tables import server_table
from world_tables import metaworld_short_table, metaworld_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BUDGETS = (4, 5, 6, 8)
FEW_BUDGETS = (4, 6)
# Of each backend one row is shown: the best of those that make no more calls than this.
MOST_CALLS = 6.5
Row = dict[str, Any]
SHARED = ("uncached", "tuned", "bespoke", "fewer_steps")


def costs_table(rows: list[Row]) -> str:
    """The short table: each backend's best setting at the price, the models abreast."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    by_policy: dict[str, dict[str, Row]] = {}
    chosen = {
        model: choose([r for r in rows if r["model"] == model], FEW_BUDGETS)
        for model in models
    }
    kept = {"uncached", "fewer_steps", "step_cache"}
    kept |= winners(rows, [row for some in chosen.values() for row in some])
    for model in models:
        for row in chosen[model]:
            name = backend(row)
            many = name != "uncached" and row["calls"] > MOST_CALLS
            if name not in kept or many:
                continue
            if name in ("tuned", "bespoke", "fewer_steps"):
                # A budget takes a schedule or a table, whichever came nearer.
                name = "fewer_steps" if name == "fewer_steps" else "tuned"
                name = f"{name}, {row['calls']:.0f}"
            other = by_policy.setdefault(name, {}).get(model)
            if other is None or other["psnr"] < row["psnr"]:
                by_policy[name][model] = row
    figures = {
        model: {
            name: figure
            for name, figure in figures_of(rows, model).items()
            if name in ("calls", "operations", "PSNR", "success")
        }
        for model in models
    }
    lines = [
        "| | " + " | ".join(f"`{m}`: {' | '.join(figures[m])}" for m in models) + " |",
        f"|---|{'--:|' * sum(map(len, figures.values()))}",
    ]
    for name, cells in by_policy.items():
        words = [
            (figure(cells[model]) if model in cells else None) or "-"
            for model in models
            for figure in figures[model].values()
        ]
        lines.append(f"| {name} | {' | '.join(words)} |")
    return "\n".join(lines)


def winners(rows: list[Row], shown: list[Row]) -> set[str]:
    """Backends that beat plain steps at as many operations, on some model.

    Between two numbers of steps plain ones are what lies on the line.

    Args:
        rows: all of them, plain steps among them.
        shown: those that may win.

    Returns:
        The backends' names.
    """
    found = set()
    for model in {row["model"] for row in rows}:
        own = [row for row in rows if row["model"] == model and row["psnr"]]
        plain = sorted(
            (row["flops"], row["psnr"])
            for row in own
            if (row["policy"], row["solver"]) == ("fewer_steps", "unipc")
        )
        flops, decibels = zip(*plain, strict=True)
        found |= {
            backend(row)
            for row in own
            if row in shown and row["psnr"] > np.interp(row["flops"], flops, decibels)
        }
    return found - {"fewer_steps"}


def frontier_tables(
    rows: list[Row], pick: Callable[[list[Row]], list[Row]] | None = None
) -> str:
    """A table for each model, as Markdown.

    Args:
        rows: what `frontier.py` has written.
        pick: which of a model's rows to show; None for those of `choose`.

    Returns:
        The tables.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(
        f"`{model}`:\n\n{model_table(rows, model, pick or choose)}" for model in models
    )


def model_table(
    rows: list[Row], model: str, pick: Callable[[list[Row]], list[Row]]
) -> str:
    """The rows of one model that a reader should see first, as Markdown."""
    figures = figures_of(rows, model)
    chosen = pick([row for row in rows if row["model"] == model])
    lines = [
        f"| policy | forecast | {' | '.join(figures)} |",
        f"|---|---|{'--:|' * len(figures)}",
    ]
    lines += [
        f"| {policy(row)} | {row['forecast']} | "
        f"{' | '.join(figure(row) or '-' for figure in figures.values())} |"
        for row in chosen
    ]
    return "\n".join(lines)


def figures_of(rows: list[Row], model: str) -> dict[str, Callable[[Row], str | None]]:
    """The columns of a model: a name, and how a row's figure is written.

    Nothing is written of what was not measured, nor of how far a sample is from itself.
    A model that does not act has no columns for it.
    """
    rows = [row for row in rows if row["model"] == model]
    (uncached,) = (row for row in rows if row["policy"] == "uncached")
    figures: dict[str, Callable[[Row], str | None]] = {
        "calls": lambda row: f"{row['calls']:.2f}",
        "operations": lambda row: f"{row['flops'] / uncached['flops']:.0%}",
        "PSNR": lambda row: row["psnr"] and f"{row['psnr']:.1f} dB",
        "5th percentile": lambda row: row.get("psnr_p5") and f"{row['psnr_p5']:.1f} dB",
        "SSIM": lambda row: row["psnr"] and row.get("ssim") and f"{row['ssim']:.4f}",
        "action RMSE": lambda row: (
            row["action_rmse"] and f"{row['action_rmse'] * 1e3:.2f}e-3"
        ),
        "success": lambda row: (
            None if row["success"] is None else f"{row['success']:.3f}"
        ),
        "time": lambda row: row["seconds"] and f"{row['seconds'] * 1e3:.1f} ms",
    }
    return {k: f for k, f in figures.items() if any(f(row) for row in rows)}


def choose(rows: list[Row], budgets: tuple[int, ...] = BUDGETS) -> list[Row]:
    """Picks one model's rows: one of each backend, then tuned ones beside plain steps.

    Of a backend the one nearest to the uncached sample that makes 6 calls or so, or
    the cheapest where none does with so few.
    """
    by_backend: dict[str, list[Row]] = {}
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
    for budget in budgets:
        found = (f"bespoke {budget}", f"tuned {budget}")
        chosen += [row for row in rows if row["policy"] in found]
        chosen += [
            row
            for row in by_backend["fewer_steps"]
            if (row["solver"], row["calls"]) == ("unipc", budget)
        ]
    return chosen


def policy(row: Row) -> str:
    """A row's policy, with the solver where that is not the usual one."""
    usual = row["solver"] in ("unipc", "table")
    return row["policy"] if usual else f"{row['policy']}, {row['solver']}"


def backend(row: Row) -> str:
    """The backend of a row, the first word of its policy."""
    return row["policy"].split()[0].rstrip(",")


def overhead_table(rows: dict[str, Row], device: str) -> str:
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


def host_table(milliseconds: dict[str, float], device: str) -> str:
    """The host's part of a call, as Markdown."""
    lines = [
        f"Measured on {device}; of `sample_many` for each of 64 requests:",
        "",
        "| the host's part of | |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {each:.2f} ms |" for name, each in milliseconds.items()]
    return "\n".join(lines)


def skipped_table(rows: dict[str, Row], device: str) -> str:
    """What a skipped step takes, as Markdown."""
    lines = [
        f"Measured on {device}, of which one is used:",
        "",
        "| | a skipped step | a call |",
        "|---|--:|--:|",
    ]
    lines += [
        f"| {name} | {row['skipped_milliseconds']:.3f} ms | "
        f"{row['call_milliseconds']:.2f} ms |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def peers_table(result: dict[str, Any], device: str) -> str:
    """This library beside others, as Markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    lines = [
        f"Measured on {device}, of which one is used; {versions}:",
        "",
        "| | steps that ran | time | largest difference from ours |",
        "|---|--:|--:|--:|",
    ]
    for name, rows in result["races"].items():
        for label, row in rows.items():
            if row["failed"]:
                lines.append(f"| {name}, {label} | failed: {row['failed']} | | |")
                continue
            calls = "-" if row["calls"] is None else row["calls"]
            own = label.partition(": ")[2] == "ours"
            apart = "-" if own else f"{row['apart']:.1e}"
            lines.append(
                f"| {name}, {label} | {calls} | {row['milliseconds']:.0f} ms | "
                f"{apart} |"
            )
    lines += [f"| {name} | {why} | | |" for name, why in result["missing"].items()]
    return "\n".join(lines)


def import_table(rows: dict[str, Row], device: str) -> str:
    """What importing the library takes, as Markdown."""
    lines = [
        f"Measured on {device}, medians of fresh interpreters:",
        "",
        "| | time |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {row['seconds']:.3f} s |" for name, row in rows.items()]
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


def compile_table(rows: dict[str, Row], device: str) -> str:
    """What compiling a deep model takes beside a shallow one, as Markdown."""
    lines = [
        f"Measured on {device}:",
        "",
        "| | 4 layers | 40 layers | ratio |",
        "|---|--:|--:|--:|",
    ]
    for name, row in rows.items():
        seconds = [
            row[f"lower_seconds_{layers}"] + row[f"compile_seconds_{layers}"]
            for layers in (4, 40)
        ]
        lines.append(
            f"| {name} | {seconds[0]:.2f} s | {seconds[1]:.2f} s | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


def worlds() -> dict[str, str]:
    """Meta-World's tables; until its weights are made, what makes them.

    The short one is of the front page, which shows nothing that is not there.
    """
    if not (RESULTS / "metaworld.json").exists():
        return {"metaworld": "`make metaworld` makes this table."}
    rows, device = read("metaworld")
    return {
        "metaworld": metaworld_table(rows, device),
        "metaworld-short": metaworld_short_table(rows),
    }


def read(name: str) -> tuple[Any, str]:
    """A benchmark's results, and the device that they were measured on."""
    about = json.loads((RESULTS / f"{name}.about.json").read_text())
    return json.loads((RESULTS / f"{name}.json").read_text()), about["device"]


def tables() -> dict[str, str]:
    """All tables, by the marker that they stand behind."""
    frontier, _ = read("frontier")
    return worlds() | {
        "batching": batching_table(*read("batching")),
        "compile-time": compile_table(*read("compile_time")),
        "costs": costs_table(frontier),
        "gpu-flux": gpu_others_table(read("gpu_others")[0], "flux"),
        "gpu-pi0": gpu_others_table(read("gpu_others")[0], "pi0"),
        "few-calls": few_calls_tables(
            read("few_calls")[0], frontier, read("episodes")[0]
        ),
        "film-quality": film_quality_table(read("film_quality")[0]),
        "scales": scales_table(read("scales")[0]),
        "gpu-fitting": gpu_fitting_table(read("gpu_fitting")[0]),
        "dreamzero": dreamzero_table(*read("dreamzero")),
        "table-overhead": table_overhead_table(*read("table_overhead")),
        "frontier": frontier_tables(frontier),
        "frontier-whole": frontier_tables(frontier, lambda rows: rows),
        "gpu-encoders": gpu_encoders_table(read("gpu_program")[0]),
        "gpu-films": gpu_films_table(read("gpu_program")[0]),
        "gpu-program": gpu_program_table(read("gpu_program")[0]),
        "gpu-meshes": gpu_meshes_table(read("gpu_program")[0]),
        "gpu-training": gpu_training_table(read("gpu_training")[0]),
        "host": host_table(*read("host")),
        "import-time": import_table(*read("import_time")),
        "pixels": pixels_table(*read("pixels")),
        "peers": peers_table(*read("peers")),
        "policy-server": server_table(*read("policy_server")),
        "skipped": skipped_table(*read("skipped")),
        "overhead": overhead_table(*read("overhead")),
    }


def filled(pages: dict[Path, str]) -> dict[Path, str]:
    """Pages with their tables made anew.

    Args:
        pages: the text of each.

    Returns:
        The same, with what stands between a table's markers replaced.

    Raises:
        ValueError: for a table that stands in no page or in several.
    """
    for name, table in tables().items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        places = {path: len(block.findall(text)) for path, text in pages.items()}
        if sum(places.values()) != 1:
            found = [path.name for path, count in places.items() if count]
            raise ValueError(f"the {name} table needs one place; it has {found}")
        pages = {
            path: block.sub(lambda at, table=table: f"{at[1]}{table}\n{at[2]}", text)
            for path, text in pages.items()
        }
    return pages


def main() -> None:
    """Prints the tables, or puts them into the pages."""
    parser = argparse.ArgumentParser(description="The tables of README and docs.")
    parser.add_argument("--write", action="store_true", help="put them into the pages")
    if not parser.parse_args().write:
        print("\n\n".join(tables().values()))
        return
    before = {path: path.read_text() for path in PAGES}
    for path, text in filled(before).items():
        if text != before[path]:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(text)
            os.replace(temporary, path)


if __name__ == "__main__":
    main()
