"""The table of what the bundled films show."""

from __future__ import annotations

from typing import Any


def film_quality_table(rows: dict[str, dict[str, Any]]) -> str:
    """Shares of films that show what was asked for, as Markdown.

    Args:
        rows: what `film_quality.py` has written.

    Returns:
        The table.
    """
    first = next(iter(rows.values()))
    count, right = first["films"], first["right"]
    error = (right * (1 - right) / count) ** 0.5
    lines = [
        f"Of {count} films, all prompts in turn; a share that is all right has a "
        f"standard error of {100 * error:.1f} points:",
        "",
        "| | all right | colour | shape | direction | to the nearest of the "
        "world's | to 16 steps without a cache |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        shares = " | ".join(
            f"{row[part]:.1%}" for part in ("right", "colour", "shape", "direction")
        )
        near = row.get("to_uncached")
        lines.append(
            f"| {name} | {shares} | {row['psnr']:.1f} dB | "
            f"{'-' if near is None else f'{near:.1f} dB'} |"
        )
    return "\n".join(lines)
