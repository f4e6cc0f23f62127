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

MOST = 0.97
"""The most that it can: CUDA and drivers keep some."""


def fits(
    parts: Mapping[str, int], gpu: str, devices: int, most: int | None = None
) -> list[str]:
    """Says whether a model fits.

    Args:
        parts: bytes on each device, by what they are for.
        gpu: one of `MEMORY`.
        devices: how many of them.
        most: bytes that are there at a time; None where all parts are.

    Returns:
        Lines of text: each part, what they are together, and the answer.
    """
    total = sum(parts.values())
    needed, there = total if most is None else most, MEMORY[gpu]
    rows = {**parts, "together" + (", at most" if needed < total else ""): needed}
    names = max(map(len, rows))
    lines = [f"  {name:<{names}}  {size / GIB:7.2f} GiB" for name, size in rows.items()]
    what = gpu.upper() if devices == 1 else f"each of {devices} {gpu.upper()}"
    said = f"{needed / GIB:.1f} of the {there // GIB} GiB of {what}"
    if needed > MOST * there:
        answer = f"does not fit: {said}, of which JAX can have {MOST:.0%}"
    elif needed > RESERVED * there:
        answer = (
            f"fits: {said}; JAX takes {RESERVED:.0%} of a GPU unless told, so set "
            f"XLA_PYTHON_CLIENT_MEM_FRACTION={min(MOST, needed / there + 0.05):.2f}"
        )
    else:
        answer = f"fits: {said}"
    return [*lines, answer]
