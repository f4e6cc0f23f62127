"""Times on a GPU beside their floors; JSON carries the device's name.

Each program is run on the device that JAX has, and what was compiled for it is read as
`gpu_program.py` reads it: each kernel at the larger of its arithmetic and its traffic
at the device's peak rates. A time far above its floor has something to be found.

    make gpu
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import jax
from ahead.hlo import parse
from ahead.kernels import PEAKS, kernels
from ahead.reading import floor
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.options import Options, resolve
from jax_stepcache.paths import path_option
from jax_stepcache.sampling import _run

ROUNDS = 10


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tabletop", "dit"])
    parser.add_argument("--caches", nargs="+", default=["none", "step_cache"])
    parser.add_argument("--rows", type=int, default=1, help="samples side by side")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    given = parser.parse_args(arguments)
    gpu = known_gpu(jax.devices()[0].device_kind)
    rows = {}
    for model in given.models:
        params = jax_stepcache.load_params(model)
        for cache in given.caches:
            rows[f"{model} {cache}"] = measured(params, cache, given.rows, gpu)
    print_table(rows)
    if given.json:
        peaks = PEAKS[gpu]._asdict() if gpu else None
        write_json(given.json, {"device": device_name(), "peaks": peaks, "rows": rows})


def known_gpu(kind: str) -> str | None:
    """The name in `PEAKS` of a device; None for one whose rates are not there."""
    return next((name for name in PEAKS if name.upper() in kind.upper()), None)


def measured(params: Any, cache: str, rows: int, gpu: str | None) -> dict[str, Any]:
    """Median time of a generation, and its floor.

    Args:
        params: the weights and their model.
        cache: a cache's name, or ``"none"``.
        rows: samples side by side.
        gpu: of `PEAKS`; without one there is no floor.

    Returns:
        A row.
    """
    shown = params.model.example(jax.random.key(0), rows)
    options = Options(cache=None if cache == "none" else cache, observation=shown)
    generation = resolve(params, options)
    program = _run.lower("batch", generation).compile()
    result = jax.block_until_ready(program(generation))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(program(generation))
        times.append(time.perf_counter() - start)
    calls = float(result.stats.model_calls)
    row = {"calls": calls, "ms": statistics.median(times) * 1e3}
    if gpu:
        gated = calls if cache != "none" else None
        text = program.as_text() or ""
        row["floor_ms"] = floor(kernels(parse(text), gated), gpu)["floor_ms"]
    return row


if __name__ == "__main__":
    main()
