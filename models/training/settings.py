"""Settings of a run: what all of them must be, and that a resumed run keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .export import write_json


def check_run(settings: Any) -> None:
    """Checks the settings that runs have in common, those that there are.

    Args:
        settings: a NamedTuple.

    Raises:
        ValueError: naming the setting, what it is and what is allowed.
    """
    given = settings._asdict()
    for name in ("steps", "batch", "accumulate"):
        if name in given and not given[name] >= 1:
            raise ValueError(f"{name} is {given[name]}; it must be >= 1")
    warmup = given.get("warmup", 0)  # steps, or a share of them
    if isinstance(warmup, int) and not 0 <= warmup < max(given.get("steps", 1), 1):
        raise ValueError(
            f"warmup is {warmup}; it must be at least 0 and fewer than the "
            f"{given['steps']} steps"
        )
    batch, parts = given.get("batch", 0), given.get("accumulate", 1)
    if batch % parts:
        raise ValueError(f"accumulate is {parts}; it must divide the batch of {batch}")
    if given.get("seed", 0) < 0:
        raise ValueError(f"seed is {given['seed']}; it must be at least 0")
    if not 0 <= given.get("decay", 0.0) < 1:
        raise ValueError(f"decay is {given['decay']}; it is a share, from 0 to 1")
    rate = given.get("learning_rate", 1.0)
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"learning_rate is {rate}; it must be a positive number")
    weight_decay = given.get("weight_decay", 0.0)
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay is {weight_decay}; it must be at least 0")


def keep_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes down what a run was begun with.

    Args:
        path: the file, beside the run's checkpoints.
        settings: JSON.
    """
    write_json(path, dict(settings))


def require_same(path: Path, settings: Mapping[str, Any]) -> None:
    """Compares a resumed run's settings with those that it was begun with.

    How often a run writes lines and checkpoints, and where it stops, is no setting: it
    may differ. The number of steps is one, for the rate falls over all of them.

    Args:
        path: as in `keep_settings`.
        settings: of the run that goes on.

    Raises:
        ValueError: naming all that differ, with both values; or if the file is not
            what `keep_settings` wrote.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} is not there, so nobody can tell whether the run goes on as it "
            "began; begin anew, in another folder"
        )
    try:
        kept = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is cut short or is not JSON: {error}") from error
    if not isinstance(kept, dict):
        raise ValueError(f"{path} has {kept!r:.80}; it needs the run's settings")
    given = json.loads(json.dumps(dict(settings)))
    # A setting that an older version did not know had no other value then.
    changed = [
        f"{name} was {kept[name]!r} and is {value!r}"
        for name, value in given.items()
        if name in kept and kept[name] != value
    ]
    if changed:
        longer = "steps" in given and kept.get("steps") != given["steps"]
        raise ValueError(
            f"{path.parent} was trained with other settings: {'; '.join(changed)}"
            + "; give those again, or begin anew in another folder"
            + (" (the rate falls over all steps, so their number is one of them)")
            * longer
        )
