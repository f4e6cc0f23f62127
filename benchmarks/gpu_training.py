"""What fine-tuning takes of a GPU, without one: a step compiled ahead of time.

    python benchmarks/gpu_training.py --json OUT.json

in the environment of `make gpu-program`. See `gpu_program`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ahead.device import PLUGIN, compiled, has_plugin, mesh_of, prepare

from jax_stepcache.paths import path_option

_GIB = 1 << 30
# LoRA on one GPU, all weights on eight: rank, attention, GPUs.
_RUNS = ((16, "cudnn", 1), (16, "xla", 1), (0, "cudnn", 8))


def main(arguments: list[str] | None = None) -> int:
    """Compiles, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gpu", choices=("h100", "h200"), default="h100")
    parser.add_argument("--model", default="droid-14b")
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    given = parser.parse_args(arguments)
    if not has_plugin():
        print(f"{PLUGIN} is not installed: see make gpu-program", file=sys.stderr)
        return 1
    prepare()
    from ahead.training import TrainingAsk, lowered
    from report import print_table, write_json

    results: dict[str, Any] = {}
    for rank, attention, devices in _RUNS:
        ask = TrainingAsk(given.model, rank, attention, rows=devices)
        mesh = mesh_of(given.gpu, (devices,), ("fsdp",))
        function, structs = lowered(ask, mesh)
        done = compiled(function, *structs)
        what = f"LoRA of rank {rank}" if rank else "all weights"
        name = f"{given.model}, {what}, {attention}, on {devices}"
        memory = {key: round(size / _GIB, 2) for key, size in done.memory.items()}
        seconds = [round(s, 1) for s in done.seconds]
        about = {"ask": ask._asdict(), "devices": devices}
        results[name] = {**about, "memory_gib": memory, "seconds": seconds}
        print(f"{name}: peak {memory['peak']} GiB", flush=True)
    print_table({name: found["memory_gib"] for name, found in results.items()})
    if given.json:
        write_json(given.json, {"gpu": given.gpu, "steps": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
