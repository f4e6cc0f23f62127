"""Tables of what few calls can give, as Markdown."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
KINDS = ("plain", "best plain", "optimised", "tuned", "bespoke")


def few_calls_tables(rows: list[Row]) -> str:
    """For each model what is best at each number of calls.

    Args:
        rows: what `few_calls.py` has written.

    Returns:
        The tables.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(_model(rows, model) for model in models)


def _model(rows: list[Row], model: str) -> str:
    own = [row for row in rows if row["model"] == model]
    lines = [
        f"`{model}`, PSNR in dB to the 16-step sample, mean (5th percentile):",
        "",
        "| calls | plain UniPC | best plain solver | optimised levels | "
        "tuned | bespoke | bespoke, SSIM | to 256 steps |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n in sorted({row["calls"] for row in own if row["kind"] in KINDS}):
        at = {row["kind"]: row for row in own if row["calls"] == n}
        cells = [_psnr(at.get(kind)) for kind in KINDS]
        if "best plain" in at:
            cells[1] += f", {at['best plain']['what']}"
        table = at.get("bespoke")
        cells.append(f"{table['ssim']:.4f}" if table else "-")
        cells.append(_psnr(table, "_256"))
        lines.append(f"| {n} | {' | '.join(cells)} |")
    acting = [row for row in own if "action_rmse" in row]
    if acting:
        lines += ["", *_acting(acting)]
    return "\n".join(lines)


def _acting(acting: list[Row]) -> list[str]:
    """What the robot is told to do."""
    lines = [
        "Its action, RMSE in thousandths of the table's side:",
        "",
        f"| calls | {' | '.join(KINDS)} |",
        f"|--:|{'--:|' * len(KINDS)}",
    ]
    for n in sorted({row["calls"] for row in acting}):
        at = {row["kind"]: row for row in acting if row["calls"] == n}
        lines.append(f"| {n} | {' | '.join(_action(at.get(k)) for k in KINDS)} |")
    return lines


def closed_loop_table(episodes: list[Row]) -> str:
    """How often the tabletop's robot is in time, by the same episodes of each way.

    Args:
        episodes: what `episodes.py` has written.

    Returns:
        The table.
    """
    lines = [
        "| `tabletop` | calls | episodes | success | behind uncached |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in episodes:
        behind = "-"
        if "behind" in row:
            points, error = 100 * row["behind"], 100 * row["behind_error"]
            behind = f"{points:.2f} ± {error:.2f} points"
        lines.append(
            f"| {row['kind']} | {row['calls']} | {row['episodes']:,} | "
            f"{row['success']:.1%} ± {row['success_error']:.1%} | {behind} |"
        )
    return "\n".join(lines)


def _psnr(row: Row | None, suffix: str = "") -> str:
    if row is None:
        return "-"
    return f"{row[f'psnr{suffix}']:.1f} ({row[f'psnr_p5{suffix}']:.1f})"


def _action(row: Row | None) -> str:
    return "-" if row is None else f"{row['action_rmse'] * 1e3:.2f}"


def table_overhead_table(rows: list[Row], device: str) -> str:
    """What a table costs besides its calls."""
    lines = [
        f"`dit` on {device}, medians of pairs that take turns, with their quartiles:",
        "",
        "| calls | batch | plain UniPC | by its table | efficiency | "
        "of processor time |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['calls']} | {row['batch']} | {row['plain_ms']:.1f} ms | "
        f"{row['table_ms']:.1f} ms | {row['efficiency']:.3f} "
        f"({row['low']:.3f} to {row['high']:.3f}) | {row['processor']:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def scales_table(result: dict[str, Any]) -> str:
    """Tables between two guidance scales."""
    knots = " and ".join(f"{scale:g}" for scale in result["knots"])
    names = list(next(iter(result["scales"].values())))
    lines = [
        f"`dit`, {result['calls']} calls, PSNR in dB on new noise; tables of the "
        f"scales {knots}:",
        "",
        f"| guidance scale | {' | '.join(names)} |",
        f"|--:|{'--:|' * len(names)}",
    ]
    lines += [
        f"| {scale} | {' | '.join(f'{row[name]:.1f}' for name in names)} |"
        for scale, row in result["scales"].items()
    ]
    return "\n".join(lines)


def gpu_fitting_table(result: dict[str, Any]) -> str:
    """What the derivative of one sample's loss takes of a GPU."""
    lines = [
        "| model | calls | H100s | derivatives | peak memory of each | floor |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for row in result["slopes"].values():
        ask = row["ask"]
        lines.append(
            f"| `{ask['model']}` | {ask['calls']} | {row['devices']} | "
            f"`slopes={ask['slopes']!r}` | {row['memory_gib']['peak']:.1f} GiB | "
            f"{row['floor_ms'] / 1e3:.1f} s |"
        )
    return "\n".join(lines)
