"""How many replicas there should be: by the requests that wait or run in each.

Ray takes this file along to where it decides, so it needs nothing but Python.
"""

from __future__ import annotations

from typing import Any

LOAD = "robots_per_slot"
"""What a replica reports: requests that wait or run, for each of its slots."""


def replicas_by_queue(context: Any) -> tuple[float, dict[str, Any]]:
    """As many replicas as have slots for all requests.

    By connections there would be too many: most robots act most of the time, and ask
    for nothing meanwhile.

    Args:
        context: Ray's, with what the replicas report, averaged over the time that
            ``look_back_period_s`` says.

    Returns:
        How many, not rounded; Ray's settings say how soon it follows, and between which
        bounds. And nothing to be remembered.
    """
    told = context.aggregated_metrics or {}
    loads = list(told.get(LOAD, {}).values())
    if not loads:  # none is ready yet
        return context.target_num_replicas, {}
    return sum(loads) / len(loads) * context.current_num_replicas, {}
