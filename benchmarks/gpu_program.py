"""What XLA makes of our programs for a GPU, without one.

Compiled ahead of time for an H100 or H200 that is not there: memory, control flow, what
the host has to do, what is copied, and a floor of the time: kernel after kernel, each
at the larger of its arithmetic and its traffic at peak rates. Kernels are not tuned and
launches not counted, so a real GPU is slower; what is there to be saved is the same.
A robot's window is full where nothing else is said; `over a window` is the mean of its
places, for keys that are not there yet are not computed.

    make gpu-program
    python benchmarks/gpu_program.py --models droid-14b --json OUT.json
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ahead.device import PLUGIN, compiled, has_plugin, mesh_of, prepare

from jax_stepcache.paths import path_option

CACHES = [
    "step_cache",
    "tea_cache",
    "cache_dit",
    "mag_cache",
    "sea_cache",
    "first_block_cache",
    "taylor_seer",
    "none",
]
# Network calls of a generation of 16 steps, for the floor.
_CALLS = 4


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
    for case in _cases(given):
        results[case.name] = row = _row_of(case, lowered, read)
        print(f"{case.name}: {_told(row)}", flush=True)
    print_table({k: _figures(row) for k, row in results.items() if "floor_ms" in row})
    print(f"{len(results)} programs in {time.perf_counter() - start:.0f} s")
    if given.json:
        write_json(given.json, {"programs": results})
    return int(any("failed" in row for row in results.values()))


def _row_of(case: Case, lowered: Any, read: Any) -> dict[str, Any]:
    """The figures of a program; or what the library, or the compiler, says instead."""
    ask, calls = case.ask, _calls(case.ask, case.calls)
    shape, names = case.mesh
    about = {"gpu": case.gpu, "devices": case.devices, "mesh": dict(zip(names, shape))}
    row = {"ask": ask._asdict(), **about, "calls": calls}
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
    parser.add_argument("--gpu", choices=("h100", "h200"), default="h100")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["tabletop", "dit", "wan22-5b", "droid-14b"],
        choices=("tabletop", "dit", "wan22-5b", "droid-14b"),
    )
    parser.add_argument("--caches", nargs="+", default=CACHES, metavar="NAME")
    parser.add_argument("--attention", choices=("cudnn", "xla"), default="cudnn")
    parser.add_argument("--layers", choices=("apart", "stacked"), default="apart")
    parser.add_argument("--decide", choices=("batch", "sample"), default="batch")
    parser.add_argument(
        "--devices",
        type=int,
        nargs="+",
        choices=(1, 2, 4, 8),
        default=[1, 2, 4, 8],
        help="meshes; on more than one device, of the first cache alone",
    )
    parser.add_argument("--rows", type=int, default=1, help="samples, or robots")
    parser.add_argument("--calls", type=float, default=_CALLS)
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    return parser.parse_args(arguments)


def _asks(given: argparse.Namespace) -> list[tuple[Any, int]]:
    from ahead.programs import ROBOTS, Ask

    asks = []
    for model in given.models:
        for devices in given.devices:
            shared = {"attention": given.attention, "layers": given.layers}
            # Rows of a bundled model are spread, and so must be as many.
            shared["rows"] = given.rows if model in ROBOTS else given.rows * devices
            if model in ROBOTS:
                asks.append((Ask(model, "observe", "none", **shared), devices))
            for cache in given.caches if devices == 1 else given.caches[:1]:
                ask = Ask(model, "sample", cache, given.decide, **shared)
                asks.append((ask, devices))
    return asks


def _calls(ask: Any, calls: float) -> float | None:
    """Network calls; observing has a conditional, for those who begin a window."""
    if ask.program == "observe":
        return 0.0
    return None if ask.cache == "none" else calls


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "floor, ms": found["floor_ms"],
        "over a window": found.get("floor_ms_over_a_window"),
        "peak, GiB": found["memory_gib"]["peak"],
        "temporary, GiB": found["memory_gib"]["temporary"],
        "conditionals": found["conditionals"],
        "loops": " ".join("?" if n is None else str(n) for n in found["loops"]),
        "host reads": " ".join(f"{n}/{k}" for k, n in found["host_reads"].items()),
        "kernels a layer": found["kernels_per_layer"],
        "compiled in, s": sum(found["seconds"]),
    }


if __name__ == "__main__":
    sys.exit(main())
