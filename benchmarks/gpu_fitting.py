"""What fitting a table takes of a GPU, without one: a slope compiled ahead of time.

    python benchmarks/gpu_fitting.py --json OUT.json

in the environment of `make gpu-program`. See `gpu_program`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ahead.device import PLUGIN, compiled, has_plugin, mesh_of, prepare

from jax_stepcache.paths import path_option

_GIB = 1 << 30
# Derivatives, attention, GPUs. Of cuDNN's attention there is no forward mode.
_RUNS = (
    ("remat", "cudnn", 1),
    ("forward", "xla", 1),
    ("remat", "cudnn", 8),
    ("forward", "xla", 8),
)


def main(arguments: list[str] | None = None) -> int:
    """Compiles, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gpu", choices=("h100", "h200"), default="h100")
    parser.add_argument("--model", default="droid-14b")
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--only", default="", help="runs whose names have these words")
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    given = parser.parse_args(arguments)
    if not has_plugin():
        print(f"{PLUGIN} is not installed: see make gpu-program", file=sys.stderr)
        return 1
    prepare()
    from ahead.fitting import FittingAsk, lowered
    from ahead.hlo import parse
    from ahead.kernels import kernels
    from ahead.reading import floor
    from report import print_table, write_json

    results: dict[str, Any] = {}
    before: dict[str, Any] = {}
    if given.only and given.json and given.json.exists():
        before = json.loads(given.json.read_text())["slopes"]
    for slopes, attention, devices in _RUNS:
        rules = None if devices == 1 else "tensor"
        name = f"{given.model}, {given.calls} calls, {slopes}, {attention}, {devices}"
        if not all(word in name for word in given.only.split()):
            continue
        ask = FittingAsk(given.model, given.calls, slopes, attention, rules)
        mesh = mesh_of(given.gpu, (devices,), ("tensor",))
        function, structs = lowered(ask, mesh)
        done = compiled(function, *structs)
        memory = {key: round(size / _GIB, 2) for key, size in done.memory.items()}
        seconds = [round(s, 1) for s in done.seconds]
        took = floor(kernels(parse(done.text), None), given.gpu)
        about = {"ask": ask._asdict(), "devices": devices, "gpu": given.gpu}
        results[name] = {
            **about,
            "memory_gib": memory,
            "seconds": seconds,
            "floor_ms": took["floor_ms"],
        }
        print(f"{name}: peak {memory['peak']} GiB, {took['floor_ms']} ms", flush=True)
        if given.json:
            write_json(given.json, {"gpu": given.gpu, "slopes": before | results})
    print_table({name: found["memory_gib"] for name, found in results.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
