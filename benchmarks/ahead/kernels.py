"""What each kernel computes and moves, and the least time that takes."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .hlo import FREE, Instruction, Module, dimensions, size
from .turns import CONTROL, running


class Peak(NamedTuple):
    """Rates of a GPU.

    Attributes:
        flops: dense 16-bit arithmetic a second.
        bytes: memory traffic a second.
        link: bytes a second and direction between GPUs of one host.
    """

    flops: float
    bytes: float
    link: float = 450e9


PEAKS = {"h100": Peak(989e12, 3.35e12), "h200": Peak(989e12, 4.8e12)}


# What writes into its first operand, and which of its operands that update is.
IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}


class Kernel(NamedTuple):
    """A kernel, as often as it runs.

    Attributes:
        times: how often.
        kind: what it does, in a word.
        flops: of one run.
        bytes: of memory, of one run.
        sent: bytes to other devices, of one run.
        gated: see `running`.
        instruction: where it stands.
    """

    times: float
    kind: str
    flops: float
    bytes: float
    sent: float
    gated: bool
    instruction: Instruction

    def seconds(self, peak: Peak) -> float:
        """At peak rates, one after another, launches not counted.

        What is sent goes over NVLink in one direction at its peak rate, and nothing
        else is done meanwhile.
        """
        one = max(self.flops / peak.flops, self.bytes / peak.bytes)
        return self.times * max(one, self.sent / peak.link)


def kernels(
    module: Module,
    calls: float | None,
    seen: Mapping[int, float] | None = None,
    rows: int = 1,
    experts: int = 1,
) -> Iterator[Kernel]:
    """All kernels of a program.

    Args:
        module: the program.
        calls: see `running`; so is ``rows``.
        seen: of a fused attention to so many keys, the share that is computed; the
            others are beyond the length that it is told. All of them unless given.
        rows: likewise.
        experts: see `running`.

    Yields:
        The kernels.
    """
    named: dict[str, dict[str, Instruction]] = {}
    for name, one, times, gated in running(module, calls, rows, experts):
        if one.op in FREE or one.op in CONTROL or one.op.endswith("-done"):
            continue
        if name not in named:
            named[name] = {other.name: other for other in module.computations[name]}
        here = named[name]
        yield Kernel(times, *_cost(module, one, here, seen or {}), gated, one)


def _cost(
    module: Module,
    one: Instruction,
    here: dict[str, Instruction],
    seen: Mapping[int, float],
) -> tuple[str, float, float, float]:
    """Kind, FLOPs, bytes of memory and bytes sent of a kernel."""
    given = [here[name].bytes if name in here else 0 for name in one.operands]
    if one.op == "fusion":
        return _fusion(module, one, given)
    if one.op == "custom-call" and "cublas" in one.target:
        out, lhs = dimensions(one.shape), dimensions(here[one.operands[0]].shape)
        axis = one.attribute(r'"lhs_contracting_dimensions":\["?(\d+)')
        depth = lhs[int(axis)] if axis else lhs[-1]
        moved = sum(given) + size(_first(one.shape))
        return "product", 2 * math.prod(out) * depth, moved, 0
    if one.op == "custom-call" and "cudnn" in one.target:
        second = dimensions(here[one.operands[1]].shape)
        return _cudnn(one, second, given, seen)
    if is_collective(one):
        return "collective", 0, 0, _sent(one, given)
    if one.op == "copy":
        return "copy", 0, 2 * one.bytes, 0
    return one.op, 0, sum(given) + one.bytes, 0


def _fusion(
    module: Module, one: Instruction, given: list[int]
) -> tuple[str, float, float, float]:
    inside = module.computations.get(one.fused, [])
    named = {other.name: other for other in inside}
    flops = sum(_dot(other, named) for other in inside if other.op == "dot")
    moved = _reads(inside, given) + _writes(inside, one)
    words = (
        ("transpose", "transpose"),
        ("pad", "pad"),
        ("concatenate", "concatenate"),
        ("softmax", "softmax"),
    )
    if flops:
        return "product", flops, moved, 0
    if one.name.startswith(("loop_dynamic_slice_fusion", "dynamic-slice")) or (
        "address_computation" in one.rest
    ):
        return "slice copy", 0, moved, 0
    for word, kind in words:
        if word in one.name:
            return kind, 0, moved, 0
    return "elementwise", 0, moved, 0


def _cudnn(
    one: Instruction, second: list[int], given: list[int], seen: Mapping[int, float]
) -> tuple[str, float, float, float]:
    """A convolution or an attention, of the shape of its kernel or its keys."""
    moved = sum(given) + size(_first(one.shape))
    if "cudnn$conv" in one.target:
        labels = one.attribute(r"dim_labels=\w+_(\w+)->")
        taps = math.prod(second) // second[labels.index("o")]
        flops = 2 * math.prod(dimensions(one.shape)) * taps
        return "convolution", flops, moved, 0
    batch, heads, rows, width = dimensions(one.shape)
    keys, over = divmod(math.prod(second), batch * heads * width)
    assert over == 0, one.shape
    share = seen.get(keys, 1.0)
    unread = (1 - share) * (given[1] + given[2])
    flops = 4 * batch * heads * rows * width * keys * share
    return "attention", flops, moved - unread, 0


def _dot(one: Instruction, inside: dict[str, Instruction]) -> int:
    operand = inside.get(one.operands[0])
    lhs = dimensions(operand.shape) if operand else []
    axes = one.attribute(r"lhs_contracting_dims=\{([\d,]+)\}")
    depth = math.prod(lhs[int(x)] for x in axes.split(",")) if axes and lhs else 1
    return 2 * math.prod(dimensions(one.shape)) * depth


def _reads(inside: list[Instruction], given: list[int]) -> int:
    """Bytes that a fusion reads: of what it only slices, the slices."""
    users = defaultdict(list)
    for one in inside:
        for name in one.operands:
            users[name].append(one)

    def read(name: str, whole: int) -> int:
        todo, total = [name], 0
        while todo:
            operand = todo.pop()
            for user in users[operand]:
                if user.op in ("bitcast", "get-tuple-element"):
                    todo.append(user.name)
                elif user.op in ("dynamic-slice", "slice", "gather"):
                    total += user.bytes
                elif user.op not in IN_PLACE or user.operands[0] != operand:
                    return whole
        return min(total, whole)

    total = 0
    for one in inside:
        if one.op == "parameter":
            index = int(re.match(r"\d+", one.rest)[0])  # pyright: ignore
            total += read(one.name, given[index]) if index < len(given) else 0
    return total


def _writes(inside: list[Instruction], one: Instruction) -> int:
    """Bytes that a fusion writes: of an update in place, the update."""
    named = {other.name: other for other in inside}
    root = next((other for other in inside if other.is_root), None)
    if root is None:
        return one.bytes
    roots = [named[x] for x in root.operands] if root.op == "tuple" else [root]
    return sum(_written(each, named) for each in roots)


def _written(one: Instruction, inside: dict[str, Instruction]) -> int:
    while one.op == "bitcast":
        one = inside[one.operands[0]]
    update = IN_PLACE.get(one.op)
    return one.bytes if update is None else inside[one.operands[update]].bytes


def is_collective(one: Instruction) -> bool:
    """Whether an instruction talks to other devices; the end of one does not count."""
    words = ("all-", "reduce-scatter", "collective")
    return one.op.startswith(words) and not one.op.endswith("-done")


def _sent(one: Instruction, given: list[int]) -> float:
    """Bytes that each device sends: around a ring, or to the one it is paired with."""
    if "permute" in one.op:
        return sum(given)
    count = group_size(one.rest)
    whole = max(sum(given), one.bytes - sum(given) if "-start" in one.op else one.bytes)
    if "all-reduce" in one.op:
        return 2 * sum(given) * (count - 1) / count
    return whole * (count - 1) / count


def group_size(rest: str) -> int:
    """How many devices take part in a collective, in any of HLO's spellings.

    Raises:
        ValueError: if none of them is found.
    """
    axes = r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\([^{]*\))?\s*\{([^}]*)\}"
    mesh = re.search(axes, rest)
    if mesh:
        sizes = {k: int(n) for k, n in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        return math.prod(sizes[name] for name in re.findall(r"'([^']+)'", mesh[2]))
    grid = re.search(r"replica_groups=\[(\d+),(\d+)\]", rest)
    if grid:
        return int(grid[2])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    if listed:
        return len(listed[1].split(","))
    if "source_target_pairs" in rest:
        return 2
    raise ValueError(f"no replica groups understood in: {rest[:300]}")


def _first(shape: str) -> str:
    """The first array of a tuple's shape."""
    found = re.search(r"\w+\[[\d,]*\]", shape)
    return found[0] if found else shape
