"""Quantiles of a robot with one joint and a gripper."""

from __future__ import annotations

from typing import Any

from jax_stepcache.models.dreamzero import (
    Statistics,
)

NAMES = ("joint_position", "gripper_position")


def statistics() -> Statistics:
    """Quantiles of a robot with one joint and a gripper."""

    def keys(low: float, high: float) -> dict[str, Any]:
        return {name: {"q01": [low], "q99": [high]} for name in NAMES}

    entry = {"state": keys(-2.0, 2.0), "action": keys(-0.5, 1.5)}
    return Statistics.from_metadata({"oxe_droid": {"statistics": entry}}, "droid")
