"""Tables of what few calls can give, as Markdown."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
KINDS = ("plain", "best plain", "optimised", "tuned", "bespoke")
# Not caches that decide by the sample: these are the columns beside theirs.
_KNOWN = ("uncached", "fewer_steps", "tuned", "bespoke", "static")


def few_calls_tables(rows: list[Row], frontier: list[Row]) -> str:
    """For each model what is best at each number of calls.

    Args:
        rows: what `few_calls.py` has written.
        frontier: what `frontier.py` has: of these the best cache that decides by the
            sample, among those of no more operations.

    Returns:
        The tables.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join(_model(rows, frontier, model) for model in models)


def _model(rows: list[Row], frontier: list[Row], model: str) -> str:
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
        lines += ["", *_acting(own, acting)]
    return "\n".join(lines)


def _acting(own: list[Row], acting: list[Row]) -> list[str]:
    """What the robot makes of it."""
    lines = [
        "Its action, RMSE in thousandths of the table's side; in brackets the share of "
        "closed-loop episodes that succeed, with its standard error:",
        "",
        f"| calls | {' | '.join(KINDS)} |",
        f"|--:|{'--:|' * len(KINDS)}",
    ]
    for n in sorted({row["calls"] for row in acting}):
        at = {row["kind"]: row for row in acting if row["calls"] == n}
        lines.append(f"| {n} | {' | '.join(_action(at.get(k)) for k in KINDS)} |")
    whole = next((row for row in own if row["kind"] == "uncached"), None)
    if whole:
        lines += ["", f"Uncached, with 16 calls: {_success(whole)}."]
    return lines


def _psnr(row: Row | None, suffix: str = "") -> str:
    if row is None:
        return "-"
    return f"{row[f'psnr{suffix}']:.1f} ({row[f'psnr_p5{suffix}']:.1f})"


def _action(row: Row | None) -> str:
    if row is None:
        return "-"
    played = f" ({_success(row)})" if "success" in row else ""
    return f"{row['action_rmse'] * 1e3:.2f}{played}"


def _success(row: Row) -> str:
    return f"{row['success']:.1%} ± {row['success_error']:.1%}"


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
