"""Settings that calibrations found, in one file, as a model's ``tuned.json`` is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from jax_stepcache.calibration.provenance import weights_mark
from jax_stepcache.calibration.quality import ahead
from jax_stepcache.calibration.result import Calibration
from jax_stepcache.network.tuned import TunedFile
from jax_stepcache.paths import as_path
from jax_stepcache.solvers.named import name_of
from jax_stepcache.solvers.table import table_to_json
from jax_stepcache.solvers.table_family import family_of


def save_settings(
    path: str | os.PathLike[str],
    calibration: Calibration | Sequence[Calibration],
    *more: Calibration | Sequence[Calibration],
) -> None:
    """Adds what calibrations found to a file, under a temporary name renamed then.

    Args:
        path: of the file. What is in it for other caches and budgets stays.
        calibration: the first one: of ``"bespoke"``, of ``"none"``, of ``"tuned"``, or
            of a backend with a threshold. Several in a list, of ``"bespoke"`` at
            several guidance scales or shifts, are one family; see `family_of`.
        *more: others, of the same step count.

    Raises:
        ValueError: for another step count than the file's, a file that is damaged, or
            a family whose tables differ in more than one option, or are of several
            weights.
        FileExistsError: if there is a folder of this name.
    """
    target = as_path(path)
    if target.is_dir():
        raise FileExistsError(f"{target} is a folder; give the name of a file")
    found = TunedFile(target).read()
    for given in (calibration, *more):
        if isinstance(given, list | tuple):
            found = _with_family(found, [_checked(one) for one in given], target)
        else:
            found = _with(found, _checked(given), target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, target)


def _checked(given: Any) -> Calibration:
    if not isinstance(given, Calibration):
        raise TypeError(f"{given!r:.80} is no Calibration, which calibrate returns")
    return given


def load_settings(path: str | os.PathLike[str], params: Any = None) -> TunedFile:
    """Opens a file of settings.

    ``sample(params, **load_settings(path).options(4))`` samples with what won at 4
    model calls.

    Args:
        path: of the file.
        params: the weights that it is to be of; None to look at none.

    Returns:
        The file, read and checked.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or what was fitted was for other weights.
    """
    target = as_path(path)
    if not target.is_file():
        raise FileNotFoundError(f"there is no file of settings at {target}")
    file = TunedFile(target)
    found = file.read()
    for calls in found.get("tables", {}):
        file.table(int(calls))
    for steps in found.get("optimised", {}):
        file.levels(int(steps))
    if params is None:
        return file
    mark = weights_mark(params)
    others = [
        calls
        for part in ("tables", "optimised")
        for calls, one in found.get(part, {}).items()
        if one.get("provenance", {}).get("weights") not in (None, mark)
    ]
    if others:
        raise ValueError(
            f"{target} has tables or noise levels of {', '.join(others)} model calls "
            "that were found for other weights; calibrate them for these, or load "
            "without params"
        )
    return file


def _with_family(
    found: dict[str, Any], some: Sequence[Calibration], target: Any
) -> dict[str, Any]:
    """What was found, with a family of tables in the place of one."""
    family = family_of(*some)
    each = []
    for one in some:
        found = _with(found, one, target)
        each.append(found["tables"][str(family.num_steps)])
    told = [one["provenance"] for one in each]
    marks = {one["weights"] for one in told}
    if len(marks) > 1:
        raise ValueError("the tables of a family were found for several weights")
    entry = {
        "table": family.to_json(),
        "wins": all(one["wins"] for one in each),
        "provenance": {"weights": marks.pop(), "each": told},
    }
    tables = {**found["tables"], str(family.num_steps): entry}
    return {**found, "tables": tables}


def _with(found: dict[str, Any], one: Calibration, target: Any) -> dict[str, Any]:
    """What was found, with one more."""
    calls = str(int(one.model_calls))
    num_steps = one.fit.get("num_steps", len(one.cache_config.get("steps_mask", ())))
    before = found.get("num_steps", num_steps)
    if num_steps and before and num_steps != before:
        raise ValueError(
            f"{target} is of {before} steps and this calibration of {num_steps}; give "
            "each a file"
        )
    told = one.to_json()
    if one.cache == "bespoke":
        tuned = one.fit["starts"].get("tuned")
        entry = {
            "table": table_to_json(one.cache_config["table"]),
            "wins": tuned is None or ahead(one.quality, tuned) > 0,
            "provenance": _provenance(one),
        }
        part = {"tables": {**found.get("tables", {}), calls: entry}}
    elif one.cache == "none":
        entry = {
            "schedule": told["sampler"]["schedule"],
            "solver": name_of(one.fit["solver"]),
            "provenance": _provenance(one),
        }
        part = {"optimised": {**found.get("optimised", {}), calls: entry}}
    elif one.cache == "static":
        entry = {"steps": one.fit["steps"], "forecast": one.cache_config["forecast"]}
        part = {"schedules": {**found.get("schedules", {}), calls: entry}}
    else:
        entry = told["cache_config"]
        part = {"settings": {**found.get("settings", {}), one.cache: entry}}
    return {"num_steps": before or num_steps, **found, **part}


def _provenance(one: Calibration) -> dict[str, Any]:
    """Where what was fitted comes from, and how near it came."""
    told = one.to_json()
    return {
        **one.fit["provenance"],
        "quality": told["quality"],
        "spread": one.fit["spread"],
        "plain": told["baseline"],
        **{k: one.fit[k] for k in ("samples", "held_out", "reference_steps")},
    }
