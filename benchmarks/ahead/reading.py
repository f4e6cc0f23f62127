"""What is read off a program: control flow, traffic, and a floor of its time."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from .device import Compiled
from .hlo import Instruction, Module, dimensions, parse
from .kernels import IN_PLACE, PEAKS, Kernel, is_collective, kernels
from .lowered import Lowered
from .turns import host_reads

GIB = 1 << 30


def read(
    program: Lowered, compiled: Compiled, gpu: str, calls: float | None
) -> dict[str, Any]:
    """Reads a program.

    Args:
        program: what it was made of.
        compiled: what it became.
        gpu: of which the rates are.
        calls: network calls of the whole generation; see `running`.

    Returns:
        The figures of one device, as JSON: ``memory_gib`` (arguments, temporary, peak
        and so on); ``seconds`` to trace and to compile; ``loops``, their turns, None
        where these are not known; ``conditionals``; ``host_reads``, the places where
        the host reads a predicate, and ``host_reads_a_generation``; ``callbacks``;
        ``kernels_per_layer`` of a network call; ``gib_of_weights_copied_a_call``;
        ``bias_and_logits_buffers``, arrays as large as an attention's scores;
        ``kv_cache_copies``; ``collectives``, how many of each kind a generation has
        behind the gate and outside, and ``gib`` that a device sends; ``tflop``,
        ``gib_moved``, ``floor_ms``, that ``_by_kind``, and of robots
        ``floor_ms_over_a_window``.
    """
    module = parse(compiled.text)
    found = list(kernels(module, calls, None, program.slots, program.experts))
    # Network calls that the kernels are of.
    counted = program.steps if calls is None else calls or 1
    return {
        "memory_gib": {k: round(v / GIB, 3) for k, v in compiled.memory.items()},
        "seconds": [round(x, 1) for x in compiled.seconds],
        **control_flow(module),
        "host_reads_a_generation": round(
            host_reads(module, calls, program.slots, program.experts)
        ),
        "kernels_per_layer": round(
            _launches(module, found, program) / counted / program.depth, 1
        ),
        **traffic(module, found, program, counted),
        **collectives(found),
        **floor(found, gpu),
        **_over_a_window(module, gpu, calls, program),
    }


def control_flow(module: Module) -> dict[str, Any]:
    """Loops with their turns, conditionals, and what the host has to do with it.

    A GPU's host reads each conditional's predicate and, of a loop whose turns are not
    known, a predicate at every turn.
    """
    loops, conditionals, reads, callbacks = [], 0, Counter(), 0
    for _, one, loop in module.running():
        if one.op == "while":
            loops.append(one.trips)
            reads["turn of a loop"] += one.trips is None
        elif one.op == "conditional":
            conditionals += 1
            where = "outside of loops" if loop is None else "step"
            reads[where] += 1
        elif one.op in ("send", "recv", "infeed", "outfeed") or (
            one.op == "custom-call" and "callback" in one.target
        ):
            callbacks += 1
    return {
        "loops": sorted(loops, key=lambda n: -1 if n is None else n),
        "conditionals": conditionals,
        "host_reads": {name: n for name, n in reads.items() if n},
        "callbacks": callbacks,
    }


def _launches(module: Module, found: list[Kernel], program: Lowered) -> float:
    """Kernels of all network calls: those behind the gate, or beside what is gated."""
    gates = any(one.op == "conditional" for _, one, _ in module.running())
    behind = program.is_gated and (gates or any(kernel.gated for kernel in found))
    return sum(kernel.times for kernel in found if kernel.gated == behind)


def traffic(
    module: Module, found: list[Kernel], program: Lowered, calls: float
) -> dict[str, Any]:
    """Copies of what should lie still: weights, biases, logits, the KV cache."""
    copied, copies = 0.0, 0
    buffers = Counter()
    cached = {math.prod(shape) for shape in program.cached}
    for kernel in found:
        one = kernel.instruction
        shape = tuple(x for x in dimensions(one.shape) if x != 1)
        copying = kernel.kind in ("slice copy", "copy")
        if copying and shape in program.stacked and len(shape) > 1:
            copied += kernel.times * one.bytes
        moving = one.op in ("fusion", "copy") and not _in_place(module, one)
        for part in re.findall(r"\w+\[[\d,]+\]", one.shape):
            dims = dimensions(part)
            copies += moving and math.prod(dims) in cached
            if program.scores and _is_scores(dims, program.scores):
                buffers["logits" if part.startswith("f32") else "bias"] += 1
    return {
        "gib_of_weights_copied_a_call": round(copied / calls / GIB, 3),
        "bias_and_logits_buffers": dict(buffers),
        "kv_cache_copies": copies,
    }


def _is_scores(shape: list[int], scores: tuple[int, int]) -> bool:
    """Whether an array's last axes are queries and keys, padded perhaps."""
    pairs = zip(shape[-2:], scores, strict=False)
    return len(shape) > 1 and all(0 <= given - wanted < 128 for given, wanted in pairs)


def _in_place(module: Module, one: Instruction) -> bool:
    inside = module.computations.get(one.fused, [])
    return any(other.op in IN_PLACE for other in inside)


def collectives(found: list[Kernel]) -> dict[str, Any]:
    """What devices say to each other, in the network and outside of the gate."""
    told: dict[str, dict[str, dict[str, float]]] = {
        "behind the gate": {},
        "outside": {},
    }
    for kernel in found:
        if not is_collective(kernel.instruction):
            continue
        op = kernel.instruction.op.removesuffix("-start")
        where = told["behind the gate" if kernel.gated else "outside"]
        row = where.setdefault(op, {"times": 0, "gib": 0})
        row["times"] += kernel.times
        row["gib"] += kernel.times * kernel.sent / GIB
    rounded = {
        where: {
            op: {"times": round(row["times"], 2), "gib": round(row["gib"], 5)}
            for op, row in ops.items()
        }
        for where, ops in told.items()
    }
    return {"collectives": rounded}


def _over_a_window(
    module: Module, gpu: str, calls: float | None, program: Lowered
) -> dict[str, Any]:
    """The floor in the mean over the places of a robot's window."""
    if not program.seen:
        return {}
    seen = kernels(module, calls, program.seen, program.slots)
    return {"floor_ms_over_a_window": floor(seen, gpu)["floor_ms"]}


def floor(found: Iterable[Kernel], gpu: str) -> dict[str, Any]:
    """The least time, kernel after kernel at peak rates, by kind of kernel."""
    peak = PEAKS[gpu]
    by: dict[str, float] = defaultdict(float)
    flops = moved = 0.0
    for kernel in found:
        by[kernel.kind] += kernel.seconds(peak)
        flops += kernel.times * kernel.flops
        moved += kernel.times * kernel.bytes
    ordered = sorted(by.items(), key=lambda x: -x[1])
    kinds = {name: round(s * 1e3, 4) for name, s in ordered if s > 5e-8}
    return {
        "tflop": round(flops / 1e12, 3),
        "gib_moved": round(moved / GIB, 3),
        "floor_ms": round(sum(by.values()) * 1e3, 4),
        "floor_ms_by_kind": kinds,
    }
