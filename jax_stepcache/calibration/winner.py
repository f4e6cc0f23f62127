"""A table and a schedule of as many calls: which of them is to be sampled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_stepcache.calibration.quality import ahead


def with_table(
    found: Mapping[str, Any],
    calls: str,
    entry: Mapping[str, Any],
    rival: Mapping[str, float] | None,
) -> dict[str, Any]:
    """What a file of settings holds, with a table.

    Args:
        found: what it held, see `TunedFile`.
        calls: how many the table makes.
        entry: its own, not yet judged.
        rival: dB by output of the known schedule of as many calls, on the samples that
            the table's own were measured on; None where there was none.

    Returns:
        What it holds now.
    """
    # JSON has no infinity.
    finite = {k: x if np.isfinite(x) else None for k, x in (rival or {}).items()}
    measured = {} if rival is None else {"rival": finite}
    entry = {**entry, "wins": True, **measured}
    found = {**found, "tables": {**found.get("tables", {}), calls: entry}}
    return _judged(found, calls)


def with_schedule(
    found: Mapping[str, Any], calls: str, entry: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file of settings holds, with a schedule; see `with_table`."""
    before = found.get("schedules", {}).get(calls, {})
    found = {**found, "schedules": {**found.get("schedules", {}), calls: entry}}
    table = found.get("tables", {}).get(calls)
    if table is not None and any(
        entry[name] != before.get(name) for name in ("steps", "forecast")
    ):
        # What the table was measured beside is no longer there.
        table = {name: x for name, x in table.items() if name != "rival"}
        found = {**found, "tables": {**found["tables"], calls: table}}
    return _judged(found, calls)


def _judged(found: dict[str, Any], calls: str) -> dict[str, Any]:
    """The same, where its table says whether it wins; unjudged, what it said before."""
    table = found.get("tables", {}).get(calls)
    rival = found.get("schedules", {}).get(calls, {})
    if table is None:
        return found
    ours, theirs = table.get("provenance", {}), rival.get("provenance", {})
    beside = table.get("rival")
    if beside is None and _scale(ours) == _scale(theirs):
        beside = theirs.get("quality")
    lead = _lead(ours.get("quality"), beside)
    if lead is None:
        return found
    tables = {**found["tables"], calls: {**table, "wins": lead > 0}}
    return {**found, "tables": tables}


def _scale(told: Mapping[str, Any]) -> Any:
    """The guidance that something was found with: others are another sampler."""
    sampler = told.get("sampler", {})
    return sampler.get("guidance_scale"), sampler.get("guidance_interval")


def _lead(ours: Any, theirs: Any) -> float | None:
    """How far one is ahead on the output where it is least; None if not known."""
    if not ours or not theirs or set(ours) != set(theirs):
        return None
    # JSON has null for what is infinite: without any error.
    each = [
        {name: np.inf if x is None else x for name, x in one.items()}
        for one in (ours, theirs)
    ]
    return ahead(*each)
