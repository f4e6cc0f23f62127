"""What a table costs besides its network calls, on the bundled `dit` itself.

Beside as many plain steps of UniPC, by the model's own tables as ``budget=`` names
them: the same number of network calls, so all that differs is the solver's step and
what the host does before it. Both take turns, and one after the other goes first.
Efficiency is the median of the pairs' quotients; 1 is a table that costs nothing more.
That of processor time tells something on a machine that others use, too.

    python benchmarks/table_overhead.py --json benchmarks/results/table_overhead.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.paths import path_option

CALLS = (4, 8)
BATCHES = (4, 16)


def efficiency(
    params: jax_stepcache.Params, n: int, batch: int, rounds: int
) -> dict[str, Any]:
    """Times a table beside as many plain steps.

    Args:
        params: the weights and their model.
        n: calls.
        batch: rows.
        rounds: pairs.

    Returns:
        The row: the median quotient and its quartiles, that of processor time, and
        milliseconds of each.
    """
    observation = params.model.example(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), batch)
    ways = {
        "plain": {"num_inference_steps": n},
        "table": {"cache": "bespoke", "budget": n},
    }

    def took(name: str) -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        result = jax_stepcache.sample(
            params, observation=observation, key=keys, **ways[name]
        )
        jax.block_until_ready(result)
        return time.perf_counter() - start, time.process_time() - busy

    for name in ways:
        took(name)  # compiles
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=turn % 2 == 1):
            taken[name].append(took(name))
    both = list(zip(taken["plain"], taken["table"], strict=True))
    low, middle, high = statistics.quantiles((a[0] / b[0] for a, b in both), n=4)
    return {
        "calls": n,
        "batch": batch,
        "efficiency": middle,
        "low": low,
        "high": high,
        "processor": statistics.median(a[1] / b[1] for a, b in both),
        **{
            f"{name}_ms": 1e3 * statistics.median(seconds for seconds, _ in each)
            for name, each in taken.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--rounds", type=int, default=201, help="timed pairs of each")
    given = parser.parse_args(arguments)
    params = jax_stepcache.load_params("dit")
    rows = [
        efficiency(params, n, batch, given.rounds) for n in CALLS for batch in BATCHES
    ]
    print(device_name())
    print_table({f"{row['calls']} calls, {row['batch']}": row for row in rows})
    if given.json:
        write_json(given.json, rows)


if __name__ == "__main__":
    main()
