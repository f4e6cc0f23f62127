"""Robots' statistics as checkpoints have them, and one robot of two keys."""

from __future__ import annotations

import json

import numpy as np

from jax_stepcache.models.dreamzero.robot.embodiments import (
    EMBODIMENTS,
    Embodiment,
)
from jax_stepcache.models.dreamzero.robot.statistics import Statistics

WIDTHS = {
    "oxe_droid": {"joint_position": 7, "gripper_position": 1},
    "agibot": {
        "left_arm_joint_position": 7,
        "right_arm_joint_position": 7,
        "left_effector_position": 1,
        "right_effector_position": 1,
        "head_position": 2,
        "waist_position": 2,
        "robot_velocity": 2,
    },
    "yam": {
        "left_joint_pos": 6,
        "left_gripper_pos": 1,
        "right_joint_pos": 6,
        "right_gripper_pos": 1,
    },
}


# One relative key, one absolute; the absolute action comes first.
SMALL = Embodiment("small", 3, ("arm", "hand"), ("hand", "arm"), ("arm",))


SMALL_METADATA = {
    "small": {
        "statistics": {
            "state": {
                "arm": {"q01": [-1.0, 0.0], "q99": [3.0, 2.0]},
                "hand": {"q01": [0.0], "q99": [0.5]},
            },
            "action": {
                "arm": {"q01": [-0.2, -0.4], "q99": [0.2, 0.8]},
                "hand": {"q01": [0.0], "q99": [1.0]},
            },
        }
    }
}


def metadata(name, seed=0):
    """A file as a checkpoint has it, with keys that no embodiment uses."""
    rng = np.random.default_rng(seed)

    def entry(width):
        low = rng.uniform(-2, 1, width)
        values = {"q01": low, "q99": low + rng.uniform(0.1, 2, width)}
        values |= {other: np.zeros(width) for other in ("min", "max", "mean", "std")}
        return {quantile: x.tolist() for quantile, x in values.items()}

    groups = {
        group: {key: entry(width) for key, width in reversed(WIDTHS[name].items())}
        | {"cartesian_position": entry(6)}
        for group in ("state", "action")
    }
    groups["state"].pop("robot_velocity", None)
    return {name: {"statistics": groups, "modalities": {}, "embodiment_tag": name}}


def small(**changed):
    """The small robot's statistics, with entries like action__arm replaced."""
    found = json.loads(json.dumps(SMALL_METADATA))
    for path, entry in changed.items():
        group, key = path.split("__")
        found["small"]["statistics"][group][key] = entry
    return found


STATISTICS = Statistics.from_metadata(SMALL_METADATA, SMALL)


def quantiles(statistics, name, group):
    """The file's q01 and q99 in the order of concatenation, in float64."""
    keys = getattr(EMBODIMENTS[name], f"{group}_keys")
    entries = statistics[name]["statistics"][group]
    return [np.concatenate([entries[k][q] for k in keys]) for q in ("q01", "q99")]
