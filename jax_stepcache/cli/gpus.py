"""GPUs by name, and how much memory each one has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GIB = 1 << 30

MEMORY: Mapping[str, int] = MappingProxyType(
    {
        "a100": 80 * GIB,
        "b200": 180 * GIB,
        "h100": 80 * GIB,
        "h200": 141 * GIB,
        "l40s": 48 * GIB,
        "rtx4090": 24 * GIB,
    }
)
"""Bytes of a GPU by its name, as its maker says; drivers keep some of it."""

RULES = ("tensor", "branches", "data", "fsdp")
"""Presets that `info` counts by; `jax_stepcache.meshes.presets` needs JAX."""

RESERVED = 0.75
"""The part that JAX takes of it, unless ``XLA_PYTHON_CLIENT_MEM_FRACTION`` is set."""


def fits(parts: Mapping[str, int], gpu: str, devices: int) -> list[str]:
    """Says whether a model fits.

    Args:
        parts: bytes on each device, by what they are for.
        gpu: one of `MEMORY`.
        devices: how many of them.

    Returns:
        Lines of text: each part, their sum, and the answer.
    """
    rows = {**parts, "together": sum(parts.values())}
    names = max(map(len, rows))
    lines = [f"  {name:<{names}}  {size / GIB:7.2f} GiB" for name, size in rows.items()]
    needed, there = rows["together"], MEMORY[gpu]
    what = gpu.upper() if devices == 1 else f"each of {devices} {gpu.upper()}"
    said = f"{needed / GIB:.1f} of the {there // GIB} GiB of {what}"
    if needed > there:
        answer = f"does not fit: {said}"
    elif needed > RESERVED * there:
        answer = (
            f"fits: {said}; JAX takes {RESERVED:.0%} of a GPU unless told, so set "
            f"XLA_PYTHON_CLIENT_MEM_FRACTION={min(0.97, needed / there + 0.05):.2f}"
        )
    else:
        answer = f"fits: {said}"
    return [*lines, answer]
