"""Quality for arithmetic: every cache backend, searched schedules, plain fewer steps.

Every row is measured against the uncached 16-step result of the same weights with the
same noise: PSNR of the decoded picture or video, and where the model acts, RMSE of the
action in world units and, of some rows, success of closed-loop episodes within their
deadline. The baseline to beat is ``fewer_steps``: a shorter schedule and no cache.

Caches that look inside the network run part of it at every step, so rows are compared
by operations (of the matrix products) rather than by calls. Thresholds are those with
which a backend comes to a given number of calls on scenes of their own.

    python benchmarks/frontier.py --json benchmarks/results/frontier.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from contenders import Contender, Family, dialled, families
from episodes import success_rate
from report import device_name, print_table, write_json
from scenes import count_flops, make_scenes, measure, time_all

import jax_stepcache
from jax_stepcache.paths import path_option

MODELS = ("tabletop", "dit", "film")
SHARES = (0.25, 1 / 3, 0.5, 0.75)
_DIAL_SCENES = 8


class Effort(NamedTuple):
    """How much is sampled.

    Attributes:
        scenes: for PSNR and RMSE.
        episodes: for success.
        rounds: timed generations of each row; 0 to time none.
    """

    scenes: int = 64
    episodes: int = 128
    rounds: int = 15


Row = dict[str, Any]


def frontier(
    params: jax_stepcache.Params, effort: Effort, only: str | None = None
) -> list[dict[str, Any]]:
    """Measures every contender on one model.

    Args:
        params: the weights and their model.
        effort: how much is sampled.
        only: measures those alone whose policy begins so.

    Returns:
        The rows.
    """
    scenes = make_scenes(params, 0, effort.scenes)
    dials = make_scenes(params, 2, _DIAL_SCENES)
    acts = "action" in scenes.reference

    def rows(make: Callable[[], Family]) -> list[tuple[Contender, dict[str, Any]]]:
        family = make()
        flops = count_flops(scenes, family[0].way)
        measured = []
        for contender in family:
            way = contender.way
            quality = measure(scenes, way, flops)
            success = None
            if acts and contender.plays and effort.episodes:
                success = success_rate(params, way, effort.episodes)
            row = {
                "model": params.model.name,
                "policy": contender.policy,
                "forecast": contender.forecast,
                "solver": way.solver,
                **quality._asdict(),
                # The uncached sampler's own row: no distance to itself, and infinity
                # is no JSON.
                "psnr": quality.psnr if np.isfinite(quality.psnr) else None,
                "psnr_p5": quality.psnr_p5 if np.isfinite(quality.psnr_p5) else None,
                "success": success,
            }
            print(row, flush=True)
            measured.append((contender, row))
        return measured

    wanted = [
        [one for one in family if only is None or one.policy.startswith(only)]
        for family in families(params.model)
    ]
    known = [lambda family=family: family for family in wanted if family]
    searched = dialled(dials) if only is None else []
    # One thread for each core: a loop of small steps keeps no more than one busy.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [row for some in pool.map(rows, [*known, *searched]) for row in some]
    # Only now, with nothing else running.
    ways = [one.way for one, _ in found]
    seconds = time_all(scenes, ways, effort.rounds) if effort.rounds else ways
    return [
        {**row, "seconds": taken if effort.rounds else None}
        for (_, row), taken in zip(found, seconds, strict=True)
    ]


def named(row: Row) -> tuple[Any, ...]:
    """What tells a row from the others."""
    steps = row["calls"] if row["policy"] == "fewer_steps" else None
    names = (row[name] for name in ("model", "policy", "forecast", "solver"))
    return *names, steps


def with_known(rows: list[Row], before: list[Row]) -> list[Row]:
    """Rows of a busy machine, where neither times nor episodes are measured.

    Args:
        rows: as they were measured.
        before: of a quiet machine, with episodes; perhaps of fewer ways.

    Returns:
        The rows; those that were there have their time and success, others none.
    """
    known = {named(row): row for row in before}
    kept = ("seconds", "success")
    return [
        {**row, **{name: known.get(named(row), {}).get(name) for name in kept}}
        for row in rows
    ]


def replaced(rows: list[Row], new: list[Row]) -> list[Row]:
    """Rows with some measured anew, in their places; those that are new come last."""
    found = {named(row): row for row in new}
    there = {named(row) for row in rows}
    kept = [found.get(named(row), row) for row in rows]
    return [*kept, *(row for row in new if named(row) not in there)]


def best_within(rows: list[dict[str, Any]], share: float) -> dict[str, dict[str, Any]]:
    """The best of one model's rows within a share of the uncached operations.

    Args:
        rows: of one model.
        share: of the operations.

    Returns:
        ``cache``, the cached row with the highest PSNR, and ``plain``, the same among
        plain steps; what there is of them.
    """
    whole = next(row["flops"] for row in rows if row["policy"] == "uncached")
    # Shares of calls are often exact, and floats are not.
    within = [
        row
        for row in rows
        if row["psnr"] is not None and row["flops"] <= (share + 1e-6) * whole
    ]
    kinds = {
        "cache": [row for row in within if row["policy"] != "fewer_steps"],
        "plain": [row for row in within if row["policy"] == "fewer_steps"],
    }
    return {
        kind: max(some, key=lambda row: row["psnr"])
        for kind, some in kinds.items()
        if some
    }


def best_table(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The best of one model's rows for some shares, to print."""
    table = {}
    for share in SHARES:
        best = best_within(rows, share)
        cache, plain = best.get("cache"), best.get("plain")
        if cache is None or plain is None:
            continue
        table[f"{share:.0%} of the operations"] = {
            "best cache": f"{cache['policy']} ({cache['forecast']})",
            "dB": cache["psnr"],
            "best plain steps": f"{plain['solver']} {plain['calls']:.0f}",
            "plain dB": plain["psnr"],
            "ahead": "cache" if cache["psnr"] > plain["psnr"] else "plain steps",
        }
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and writes the JSON."""
    default = Effort()
    parser = argparse.ArgumentParser(description="Quality for arithmetic.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument(
        "--params", action="append", help=f"bundled model or file; default: {MODELS}"
    )
    parser.add_argument(
        "--only",
        metavar="POLICY",
        help="measure these rows alone, and put them into the file that is there",
    )
    parser.add_argument(
        "--busy",
        action="store_true",
        help="time nothing and play no episodes; rows that are in the file keep both",
    )
    parser.add_argument("--scenes", type=int, default=default.scenes)
    parser.add_argument("--episodes", type=int, default=default.episodes)
    parser.add_argument("--rounds", type=int, default=default.rounds)
    given = parser.parse_args(arguments)
    if given.only and not given.json:
        parser.error("--only puts rows into a file: give --json")
    effort = Effort(given.scenes, given.episodes, given.rounds)
    if given.busy:
        effort = Effort(given.scenes, episodes=0, rounds=0)

    there = given.json and given.json.exists()
    before = json.loads(given.json.read_text()) if there else []
    by_model: dict[str, list[dict[str, Any]]] = {}
    for source in given.params or MODELS:
        params = jax_stepcache.load_params(source)
        by_model[source] = frontier(params, effort, given.only)
        if given.busy:
            by_model[source] = with_known(by_model[source], before)
        print(f"{device_name()}: {params.model.name}", flush=True)
        print_table({f"{i}": row for i, row in enumerate(by_model[source])})
        if given.json:
            # After each model: what has been measured is kept.
            rows = [row for rows in by_model.values() for row in rows]
            now = {row["model"] for row in rows}
            others = [row for row in before if row["model"] not in now]
            new = replaced(before, rows) if given.only else [*others, *rows]
            write_json(given.json, new)
    if given.only:
        return
    for source, rows in by_model.items():
        print(f"\n{source}: best within a share of the uncached operations")
        print_table(best_table(rows))


if __name__ == "__main__":
    main()
