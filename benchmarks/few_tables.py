"""Tables of what few calls can give, as Markdown."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
KINDS = ("plain", "best plain", "optimised", "tuned", "bespoke")
# Not caches that decide by the sample: these are the columns beside theirs.
_KNOWN = ("uncached", "fewer_steps", "tuned", "bespoke", "static")


def few_calls_tables(
    rows: list[Row], frontier: list[Row], episodes: list[Row] | None = None
) -> str:
    """For each model what is best at each number of calls.

    Args:
        rows: what `few_calls.py` has written.
        frontier: what `frontier.py` has: of these the best cache that decides by the
            sample, among those of no more operations.
        episodes: what `episodes.py` has, of the model that acts.

    Returns:
        The tables.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(
        _model(rows, frontier, episodes or [], model) for model in models
    )


def _model(
    rows: list[Row], frontier: list[Row], episodes: list[Row], model: str
) -> str:
    own = [row for row in rows if row["model"] == model]
    lines = [
        f"`{model}`, PSNR in dB to the 16-step sample, mean (5th percentile):",
        "",
        "| calls | plain UniPC | best plain solver | optimised levels | "
        "best gated cache | tuned | bespoke | bespoke, SSIM | to 256 steps |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n in sorted({row["calls"] for row in own if row["kind"] in KINDS}):
        at = {row["kind"]: row for row in own if row["calls"] == n}
        cells = [_psnr(at.get(kind)) for kind in KINDS]
        if "best plain" in at:
            cells[1] += f", {at['best plain']['what']}"
        cells.insert(3, _gated(frontier, model, n))
        table = at.get("bespoke")
        cells.append(f"{table['ssim']:.4f}" if table else "-")
        cells.append(_psnr(table, "_256"))
        lines.append(f"| {n} | {' | '.join(cells)} |")
    acting = [row for row in own if "action_rmse" in row]
    if acting:
        lines += ["", *_acting(acting), *_played(episodes)]
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


def _played(episodes: list[Row]) -> list[str]:
    """How often it is in time, by the same episodes of each way."""
    if not episodes:
        return []
    lines = [
        "",
        "Closed-loop episodes that succeed, with standard errors; those of the "
        "difference are of pairs, for each way plays the same ones:",
        "",
        "| way | calls | episodes | success | behind uncached |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in episodes:
        behind = "-"
        if "behind" in row:
            points, error = 100 * row["behind"], 100 * row["behind_error"]
            behind = f"{points:.1f} ± {error:.1f} points"
        lines.append(
            f"| {row['kind']} | {row['calls']} | {row['episodes']:,} | "
            f"{row['success']:.1%} ± {row['success_error']:.1%} | {behind} |"
        )
    return lines


def _psnr(row: Row | None, suffix: str = "") -> str:
    if row is None:
        return "-"
    return f"{row[f'psnr{suffix}']:.1f} ({row[f'psnr_p5{suffix}']:.1f})"


def _action(row: Row | None) -> str:
    return "-" if row is None else f"{row['action_rmse'] * 1e3:.2f}"


def _gated(frontier: list[Row], model: str, n: int) -> str:
    own = [row for row in frontier if row["model"] == model]
    whole = next((row["flops"] for row in own if row["policy"] == "uncached"), None)
    within = [
        row
        for row in own
        if whole
        and _backend(row) not in _KNOWN
        and row["psnr"] is not None
        and row["flops"] <= (n / 16 + 1e-6) * whole
    ]
    if not within:
        return "-"
    best = max(within, key=lambda row: row["psnr"])
    return f"{best['psnr']:.1f}, {_backend(best)}"


def _backend(row: Row) -> str:
    return row["policy"].split()[0].rstrip(",")


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
        f"{row['table_ms']:.1f} ms | {row['efficiency']:.2f} "
        f"({row['low']:.2f} to {row['high']:.2f}) | {row['processor']:.3f} |"
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
