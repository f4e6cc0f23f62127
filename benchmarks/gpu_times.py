"""Times on GPUs beside their floors; JSON carries the device's name.

Each program is run on the devices that JAX has, on one and, as `gpu_program.py` has it,
on a mesh of all of them; and what was compiled for it is read as that does: each kernel
at the larger of its arithmetic and its traffic at the device's peak rates. A time far
above its floor has something to be found. Rows have the names and keys of
`gpu_program.py`'s, whose floor, found without the device, is ``floor_ms_ahead``.

    make gpu
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
from ahead.asks import Ask
from ahead.cases import Case
from ahead.hlo import parse
from ahead.kernels import PEAKS, kernels
from ahead.reading import floor
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.options import Options, resolve
from jax_stepcache.paths import path_option
from jax_stepcache.sampling import _run

ROUNDS = 10
AHEAD = Path(__file__).parent / "results" / "gpu_program.json"


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tabletop", "dit"])
    parser.add_argument("--caches", nargs="+", default=["none", "step_cache"])
    parser.add_argument("--rows", type=int, default=1, help="samples on a device")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    given = parser.parse_args(arguments)
    gpu = known_gpu(jax.devices()[0].device_kind)
    ahead = json.loads(AHEAD.read_text())["programs"] if AHEAD.exists() else {}
    rows = {}
    for case in _cases(given, gpu or jax.default_backend()):
        found = ahead.get(case.name, {})
        row = {"floor_ms_ahead": found.get("floor_ms"), **measured(case)}
        rows[case.name] = row
    shown = ("calls", "ms", "floor_ms", "floor_ms_ahead")
    print_table({k: {name: row.get(name) for name in shown} for k, row in rows.items()})
    if given.json:
        peaks = PEAKS[gpu]._asdict() if gpu else None
        write_json(given.json, {"device": device_name(), "peaks": peaks, "rows": rows})


def _cases(given: argparse.Namespace, gpu: str) -> list[Case]:
    everywhere = jax.device_count()
    counts = [1, everywhere] if everywhere > 1 else [1]
    return [
        Case(
            Ask(
                model,
                cache=cache,
                rows=given.rows * count,
                rules="data" if count > 1 else None,
            ),
            gpu,
            count,
        )
        for model in given.models
        for count in counts
        for cache in given.caches
    ]


def known_gpu(kind: str) -> str | None:
    """The name in `PEAKS` of a device; None for one whose rates are not there."""
    return next((name for name in PEAKS if name.upper() in kind.upper()), None)


def measured(case: Case) -> dict[str, Any]:
    """Median time of a generation, and its floor where the device's rates are known.

    Args:
        case: what to run, and on how many devices.

    Returns:
        A row.
    """
    ask, (shape, names) = case.ask, case.mesh
    mesh = jax.make_mesh(shape, names) if case.devices > 1 else None
    params = jax_stepcache.load_params(ask.model, mesh=mesh, rules=ask.rules)
    shown = params.model.example(jax.random.key(0), ask.rows)
    cache = None if ask.cache == "none" else ask.cache
    generation = resolve(params, Options(cache=cache, observation=shown))
    # Compiled once to be called and once to be read; JAX keeps the first.
    result = jax.block_until_ready(_run("batch", generation))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(_run("batch", generation))
        times.append(time.perf_counter() - start)
    calls = float(result.stats.model_calls)
    row = {
        "ask": ask._asdict(),
        "gpu": case.gpu,
        "devices": case.devices,
        "mesh": dict(zip(names, shape, strict=True)),
        "calls": calls,
        "ms": statistics.median(times) * 1e3,
    }
    if case.gpu in PEAKS:
        gated = calls if cache else None
        text = _run.lower("batch", generation).compile().as_text() or ""
        found = kernels(parse(text), gated)
        row["floor_ms"] = floor(found, case.gpu)["floor_ms"]
    return row


if __name__ == "__main__":
    main()
