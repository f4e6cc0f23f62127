"""Tables of a robot's control step, as Markdown."""

from __future__ import annotations

from typing import Any


def dreamzero_table(result: dict[str, Any], device: str) -> str:
    """A control step of a DreamZero, as Markdown."""
    run = result["run"]
    lines = [
        f"`{run['config']}`, {run['layers']} layers, {run['parameters'] / 1e6:.1f} M "
        f"parameters, {run['dtype']}, attention `{run['attention']}`, on {device}, "
        f"peak memory {run['peak_memory_bytes'] / 1e6:.0f} MB:",
        "",
        "| | time | floor | share of the floor's rate | speed-up |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, row in result["rows"].items():
        speedup = row["speedup"] and f"{row['speedup']:.2f}x"
        lines.append(
            f"| {name} | {row['seconds'] * 1e3:.1f} ms | "
            f"{row['floor_seconds'] * 1e3:.1f} ms | {row['utilisation']:.0%} | "
            f"{speedup or '-'} |"
        )
    return "\n".join(lines)


def pixels_table(result: dict[str, Any], device: str) -> str:
    """The stages of a control step from pictures and words, as Markdown."""
    run = result["run"]
    lines = [
        f"`{run['model']}`, {run['dtype']}, on {device}:",
        "",
        "| stage | when | time | memory while it runs | of it temporary |",
        "|---|---|--:|--:|--:|",
    ]
    for name, row in result["rows"].items():
        held, temporary = (
            "-" if row[key] is None else f"{row[key] / 1e6:.1f} MB"
            for key in ("held_bytes", "temporary_bytes")
        )
        lines.append(
            f"| {name} | {row['when']} | {row['seconds'] * 1e3:.1f} ms | {held} | "
            f"{temporary} |"
        )
    return "\n".join(lines)
