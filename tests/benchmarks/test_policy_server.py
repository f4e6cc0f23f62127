"""A policy server under load: its figures are there, and each request ended once."""

import json
from pathlib import Path

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "policy_server.json"


def test_every_request_ended_exactly_once():
    """In the committed run: robots were killed, cut off and late meanwhile."""
    rows = json.loads(RESULT.read_text())
    faults = rows["faults"]
    assert faults["once_each"]
    assert faults["idle_after"]
    assert faults["left"] > 0
    ended = faults["answered"] + faults["refused"] + faults["left"]
    assert ended == faults["sent"] >= 2000
    assert {"server, 1", "server, 8", "server, 32"} <= rows.keys()
    assert all(
        row["steps"] >= 2000 for name, row in rows.items() if name.startswith("server")
    )
