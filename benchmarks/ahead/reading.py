"""What is read off a program: control flow, traffic, and a floor of its time."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from .device import Compiled
from .hlo import FREE, Instruction, Module, dimensions, parse
from .kernels import PEAKS, is_collective, kernels
from .programs import Lowered

GIB = 1 << 30


def read(
    program: Lowered, compiled: Compiled, gpu: str, calls: float | None
) -> dict[str, Any]:
    """Reads a program.

    Args:
        program: what it was made of.
        compiled: what it became.
        gpu: of which the rates are.
        calls: network calls of the whole generation; see `kernels`.

    Returns:
        The figures, as JSON.
    """
    module = parse(compiled.text)
    return {
        "memory_gib": {k: round(v / GIB, 3) for k, v in compiled.memory.items()},
        "seconds": [round(x, 1) for x in compiled.seconds],
        **control_flow(module),
        "kernels_per_layer": round(_in_network(module, program) / program.depth, 1),
        **traffic(module, program, calls),
        **collectives(module, calls),
        **floor(module, gpu, calls),
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


def _in_network(module: Module, program: Lowered) -> int:
    """Kernels of one network call: those behind the gate, or beside what is gated."""
    gates = [one for _, one, _ in module.running() if one.op == "conditional"]
    gated = sum(_launches(module, gate.runs[0]) for gate in gates)
    if program.is_gated and gates:
        return gated
    beside = [name for gate in gates for name in gate.runs]
    return _launches(module, module.entry) - sum(_launches(module, x) for x in beside)


def _launches(module: Module, name: str) -> int:
    total = 0
    for one in module.computations[name]:
        if one.op in FREE:
            continue
        inner = sum(_launches(module, other) for other in one.runs)
        total += inner * (one.trips or 1) if one.op == "while" else inner or 1
    return total


def traffic(module: Module, program: Lowered, calls: float | None) -> dict[str, Any]:
    """Copies of what should lie still: weights, biases, logits, the KV cache."""
    per_call: dict[str, float] = defaultdict(float)
    copies = 0
    buffers = Counter()
    cached = {math.prod(shape) for shape in program.cached}
    for kernel in kernels(module, calls):
        one = kernel.instruction
        shape = tuple(x for x in dimensions(one.shape) if x != 1)
        copying = kernel.kind in ("slice copy", "copy")
        if copying and shape in program.stacked and len(shape) > 1:
            per_call["bytes"] += kernel.times * one.bytes
        for part in re.findall(r"\w+\[[\d,]+\]", one.shape):
            dims = dimensions(part)
            if program.scores and _is_scores(dims, program.scores):
                buffers["logits" if part.startswith("f32") else "bias"] += 1
        if math.prod(dimensions(one.shape)) in cached and one.op in ("fusion", "copy"):
            copies += not _in_place(module, one)
    share = calls or 1
    return {
        "gib_of_weights_copied_a_call": round(per_call["bytes"] / share / GIB, 3),
        "bias_and_logits_buffers": dict(buffers),
        "kv_cache_copies": copies,
    }


def _is_scores(shape: list[int], scores: tuple[int, int]) -> bool:
    """Whether an array's last axes are queries and keys, padded perhaps."""
    pairs = zip(shape[-2:], scores, strict=False)
    return len(shape) > 1 and all(0 <= given - wanted < 128 for given, wanted in pairs)


def _in_place(module: Module, one: Instruction) -> bool:
    inside = module.computations.get(one.fused, [])
    return any(other.op == "dynamic-update-slice" for other in inside)


def collectives(module: Module, calls: float | None) -> dict[str, Any]:
    """What devices say to each other, in the network and outside of the gate."""
    found: dict[str, dict[str, float]] = {"inside the cond": {}, "outside": {}}
    for kernel in kernels(module, calls):
        if not is_collective(kernel.instruction):
            continue
        where = found["inside the cond" if kernel.gated else "outside"]
        op = kernel.instruction.op.removesuffix("-start")
        where[op] = where.get(op, 0) + kernel.times * kernel.sent
    return {
        "gib_of_collectives": {
            where: {op: round(sent / GIB, 4) for op, sent in each.items()}
            for where, each in found.items()
        }
    }


def _over_a_window(
    module: Module, gpu: str, calls: float | None, program: Lowered
) -> dict[str, Any]:
    """The floor in the mean over the places of a robot's window."""
    if not program.seen:
        return {}
    found = floor(module, gpu, calls, program.seen)
    return {"floor_ms_over_a_window": found["floor_ms"]}


def floor(
    module: Module,
    gpu: str,
    calls: float | None,
    seen: Mapping[int, float] | None = None,
) -> dict[str, Any]:
    """The least time, kernel after kernel at peak rates, by kind of kernel."""
    peak = PEAKS[gpu]
    by: dict[str, float] = defaultdict(float)
    flops = moved = 0.0
    for kernel in kernels(module, calls, seen):
        by[kernel.kind] += kernel.seconds(peak)
        flops += kernel.times * kernel.flops
        moved += kernel.times * kernel.bytes
    ordered = sorted(by.items(), key=lambda x: -x[1])
    kinds = {name: round(s * 1e3, 2) for name, s in ordered if s > 5e-6}
    return {
        "tflop": round(flops / 1e12, 3),
        "gib_moved": round(moved / GIB, 3),
        "floor_ms": round(sum(by.values()) * 1e3, 2),
        "floor_ms_by_kind": kinds,
    }
