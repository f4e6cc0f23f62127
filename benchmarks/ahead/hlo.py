"""Optimised HLO text, read into instructions; needs no JAX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

_WIDTHS = {
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64", "c64"), 8),
}
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) (\(.*\) -> .*)?\{")

# What is no work of its own: names for parts of others' results.
FREE = frozenset(
    {
        "parameter",
        "get-tuple-element",
        "tuple",
        "bitcast",
        "constant",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "optimization-barrier",
    }
)


def dimensions(shape: str) -> list[int]:
    """The first array's dimensions in a shape such as ``bf16[2,3]{1,0}``."""
    found = _SHAPE.search(shape)
    return [int(x) for x in found[2].split(",") if x] if found else []


def size(shape: str) -> int:
    """Bytes of a shape; those of a tuple added up."""
    return sum(
        _WIDTHS.get(dtype, 0) * math.prod(int(x) for x in given.split(",") if x)
        for dtype, given in _SHAPE.findall(shape)
    )


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: its name in its computation.
        shape: of its result, without the layout's braces where these were left out.
        op: such as ``fusion``.
        rest: operands and attributes, as text.
        is_root: whether it is what its computation returns.
    """

    name: str
    shape: str
    op: str
    rest: str
    is_root: bool

    @cached_property
    def bytes(self) -> int:
        """Of its result."""
        return size(self.shape)

    @cached_property
    def operands(self) -> list[str]:
        """Names of its operands."""
        depth = 1
        for end, letter in enumerate(self.rest):
            depth += (letter == "(") - (letter == ")")
            if not depth:
                return re.findall(r"%([\w.\-]+)", self.rest[:end])
        return []

    @property
    def target(self) -> str:
        """What a custom call calls."""
        return self.attribute(r'custom_call_target="([^"]+)"')

    @property
    def fused(self) -> str:
        """The computation of a fusion."""
        return self.attribute(r"calls=%?([\w.\-]+)")

    @property
    def source(self) -> str:
        """Where in the traced program it comes from."""
        return self.attribute(r'op_name="([^"]+)"')

    @property
    def trips(self) -> int | None:
        """How often a loop goes round, where that is known when it is compiled."""
        found = self.attribute(r'known_trip_count":\{"n":"(\d+)"')
        return int(found) if found else None

    @property
    def runs(self) -> list[str]:
        """Computations that run as such: of loops, conditionals and calls."""
        if self.op == "while":
            return re.findall(r"(?:condition|body)=%?([\w.\-]+)", self.rest)
        if self.op == "conditional":
            listed = self.attribute(r"branch_computations=\{([^}]*)\}")
            if listed:
                return [name.strip().lstrip("%") for name in listed.split(",")]
            pair = r"(?:true|false)_computation=%?([\w.\-]+)"
            return re.findall(pair, self.rest)
        if self.op in ("call", "async-start"):
            return re.findall(r"(?:to_apply|calls)=%?([\w.\-]+)", self.rest)
        return []

    def attribute(self, pattern: str) -> str:
        """The group of a pattern in the attributes; empty where it is not there."""
        found = re.search(pattern, self.rest)
        return found[1] if found else ""


@dataclass(frozen=True)
class Module:
    """A program.

    Attributes:
        computations: instructions by computation.
        entry: the one that is run.
    """

    computations: Mapping[str, list[Instruction]]
    entry: str

    def running(self) -> Iterator[tuple[str, Instruction, Instruction | None]]:
        """Every instruction that runs as such, with its computation and its loop.

        Not those inside of fusions. The loop is the innermost around it, or None.
        """
        todo: list[tuple[str, Instruction | None]] = [(self.entry, None)]
        seen = set()
        while todo:
            name, loop = todo.pop()
            if name in seen or name not in self.computations:
                continue
            seen.add(name)
            for one in self.computations[name]:
                yield name, one, loop
                inner = one if one.op == "while" else loop
                todo += [(other, inner) for other in one.runs]


def parse(text: str) -> Module:
    """Reads a module.

    Args:
        text: optimised HLO, as `jax.stages.Compiled.as_text` gives it.

    Returns:
        The module.

    Raises:
        ValueError: if there is no entry computation in it.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        head = None if line.startswith(" ") else _HEAD.match(line)
        if head:
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None:
            found = _INSTRUCTION.match(re.sub(r"/\*.*?\*/", "", line))
            if found:
                root, name, shape, op, rest = found.groups()
                current.append(Instruction(name, shape, op, rest, bool(root)))
    if not entry:
        raise ValueError("this is no HLO text: it has no ENTRY computation")
    return Module(computations, entry)
