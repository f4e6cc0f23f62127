"""What XLA makes of our programs for a GPU, without one.

Compiled ahead of time for an H100 or H200 that is not there: memory, control flow, what
the host has to do, what is copied, and a floor of the time: kernel after kernel, each
at the larger of its arithmetic and its traffic at peak rates. Kernels are not tuned and
launches not counted, so a real GPU is slower; what is there to be saved is the same.
On a mesh all figures are one device's, and a collective takes what it sends, around a
ring, over NVLink in one direction (450 GB/s), while nothing else is done.
A robot's window is full where nothing else is said; `over a window` is the mean of its
places, for keys that are not there yet are not computed.

    make gpu-program
    python benchmarks/gpu_program.py --models droid-14b --only "branches sample"
    python benchmarks/gpu_program.py --models dit --program slots --devices 1 --rows 4
    python benchmarks/gpu_program.py --models flux.1-dev pi0-base

The last two's rows are made as in `gpu_others.py`, and written to a file beside.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from ahead.asks import BUNDLED, ENCODERS, FILMS, OF_FILMS, OF_MODELS, ROBOTS, Ask
from ahead.cases import CACHES, GPUS, Case, cases
from ahead.device import PLUGIN, compiled, has_plugin, mesh_of, prepare
from gpu_others import CACHES as CACHES_OF_OTHERS
from gpu_others import STEPS, compile_rows, parsed

from jax_stepcache.paths import path_option


def main(arguments: list[str] | None = None) -> int:
    """Compiles, prints and writes."""
    given = _parsed(arguments)
    if not has_plugin():
        print(f"{PLUGIN} is not installed: see make gpu-program", file=sys.stderr)
        return 1
    prepare()
    from ahead.programs import lowered
    from ahead.reading import read
    from report import print_table, write_json

    start = time.perf_counter()
    results: dict[str, Any] = {}
    before = _programs(given.json) if given.json and given.only else {}
    for case in _cases(given):
        results[case.name] = row = _row_of(case, lowered, read)
        print(f"{case.name}: {_told(row)}", flush=True)
        if given.json:  # Each time, for all of them take a while.
            write_json(given.json, {"programs": before | results})
    figures = {k: _figures(row) for k, row in results.items() if "floor_ms" in row}
    if figures:
        print_table(figures)
    count = len(results) + _others(given)
    print(f"{count} programs in {time.perf_counter() - start:.0f} s")
    return int(any("failed" in row for row in results.values()))


def _others(given: argparse.Namespace) -> int:
    """The samplers of FLUX and pi0, which have a list and a file of their own."""
    count = 0
    for model in [name for name in given.models if name in STEPS]:
        if 1 not in given.devices:
            print(f"{model}: on one GPU alone, and --devices has no 1")
            continue
        caches = CACHES_OF_OTHERS[model]
        if given.caches != list(CACHES):
            caches = tuple(name for name in caches if name in given.caches)
        if not caches:
            print(f"{model}: --caches has none of {CACHES_OF_OTHERS[model]}")
            continue
        asked = ["--model", model, "--gpu", given.gpu, "--layers", given.layers]
        asked += ["--caches", *caches]
        if given.json:
            asked += ["--json", str(given.json.with_name("gpu_others.json"))]
        count += compile_rows(parsed(asked), given.only.split())
    return count


def _row_of(case: Case, lowered: Any, read: Any) -> dict[str, Any]:
    """The figures of a program; or what the library, or the compiler, says instead."""
    ask, calls, (shape, names) = case.ask, case.calls, case.mesh
    row = {
        "ask": ask._asdict(),
        "gpu": case.gpu,
        "devices": case.devices,
        "mesh": dict(zip(names, shape, strict=True)),
        "calls": calls,
    }
    mesh = mesh_of(case.gpu, shape, names)
    try:
        program = lowered(ask, mesh)
    except ValueError as refusal:
        return {**row, "refused": str(refusal)}
    try:
        done = compiled(program.function, *program.arguments)
    except Exception as error:  # The others are still worth having.
        return {**row, "failed": f"{type(error).__name__}: {error}"[:500]}
    return {**row, **read(program, done, case.gpu, calls)}


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    models = [*BUNDLED, *ROBOTS, *FILMS, *ENCODERS, *STEPS]
    parser.add_argument("--models", nargs="+", default=models, choices=models)
    parser.add_argument("--caches", nargs="+", default=list(CACHES), metavar="NAME")
    parser.add_argument(
        "--devices", type=int, nargs="+", choices=(1, 2, 4, 8), default=[1, 2, 4, 8]
    )
    parser.add_argument(
        "--only",
        default="",
        help="programs whose names have all these words; the others' figures stay",
    )
    one = parser.add_argument_group("one program, in place of the list of them")
    one.add_argument(
        "--program", choices=(*OF_MODELS, "encode", "begin", "decode", "expert")
    )
    one.add_argument("--gpu", choices=GPUS, default="h100")
    one.add_argument("--attention", choices=("cudnn", "xla"), default="cudnn")
    one.add_argument("--layers", choices=("apart", "stacked"), default="apart")
    one.add_argument("--decide", choices=("batch", "sample"), default="batch")
    one.add_argument("--rows", type=int, default=1, help="samples, or robots")
    one.add_argument("--rules", help="a preset, on several devices")
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    given = parser.parse_args(arguments)
    if given.program is not None:
        offered = ENCODERS | dict.fromkeys(FILMS, OF_FILMS)
        offered |= dict.fromkeys(STEPS, ("sample",))
        fit = [m for m in given.models if given.program in offered.get(m, OF_MODELS)]
        if not fit:
            parser.error(f"--program {given.program} is none of {given.models}")
        given.models = fit
    return given


def _cases(given: argparse.Namespace) -> list[Case]:
    ours = [model for model in given.models if model not in STEPS]
    if given.program is None:
        listed = cases(ours, given.devices, given.caches)
    else:
        shared = (given.decide, given.attention, given.layers, given.rows, given.rules)
        listed = (
            Case(Ask(model, given.program, cache, *shared), given.gpu, devices)
            for model in ours
            for devices in given.devices
            for cache in (["none"] if model in ENCODERS else given.caches)
        )
    words = given.only.split()
    return [case for case in listed if all(word in case.name for word in words)]


def _programs(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["programs"] if path.exists() else {}


def _told(row: dict[str, Any]) -> str:
    for word in ("refused", "failed"):
        if word in row:
            return f"{word}: {row[word]}"
    seconds = sum(row["seconds"])
    peak = row["memory_gib"]["peak"]
    return f"{row['floor_ms']} ms, peak {peak} GiB; compiled in {seconds:.0f} s"


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "floor, ms": row["floor_ms"],
        "over a window": row.get("floor_ms_over_a_window"),
        "collectives, ms": row["floor_ms_by_kind"].get("collective"),
        "peak, GiB": row["memory_gib"]["peak"],
        "temporary, GiB": row["memory_gib"]["temporary"],
        "conditionals": row["conditionals"],
        "loops": " ".join("?" if n is None else str(n) for n in row["loops"]),
        "host reads": row["host_reads_a_generation"],
        "kernels a layer": row["kernels_per_layer"],
    }


if __name__ == "__main__":
    sys.exit(main())
