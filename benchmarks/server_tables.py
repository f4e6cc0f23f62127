"""The table of a policy server under load."""

from __future__ import annotations

from typing import Any


def server_table(rows: dict[str, dict[str, Any]], device: str) -> str:
    """What the socket costs, and what many robots share, as Markdown.

    Args:
        rows: what `policy_server.py` has written.
        device: what it was measured on.

    Returns:
        The table, and what became of the requests in the mix with faults.
    """
    lines = [
        f"Measured on {device}, robots and server on the same:",
        "",
        "| | control steps a second | median | 99 % within | overhead of the server "
        "| outside the policy | with the wait for its batch "
        "| of `step_many`'s throughput |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        if name == "faults":
            continue
        share = row.get("of_step_many")
        lines.append(
            f"| {name} | {row['steps_per_second']:.1f} | {row['p50_ms']:.1f} ms | "
            f"{row['p99_ms']:.1f} ms | {_ms(row, 'overhead_p50_ms')} | "
            f"{_ms(row, 'outside_p50_ms')} | "
            f"{_ms(row, 'outside_with_batch_p50_ms')} | "
            f"{'' if share is None else f'{100 * share:.0f} %'} |"
        )
    faults = rows["faults"]
    lines += [
        "",
        f"With faults injected, {faults['sent']} requests were sent: "
        f"{faults['answered']} were answered once, {faults['refused']} refused, and "
        f"{faults['left']} ended with their robot.",
    ]
    return "\n".join(lines)


def _ms(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.1f} ms" if name in row else ""
