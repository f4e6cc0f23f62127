"""Settings that calibrations found, in one file, as a model's ``tuned.json`` is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from jax_stepcache.calibration.result import Calibration
from jax_stepcache.calibration.winner import with_schedule, with_table
from jax_stepcache.network.found_for import of_other_weights
from jax_stepcache.network.tuned import TunedFile
from jax_stepcache.paths import as_path
from jax_stepcache.solvers import get_solver
from jax_stepcache.solvers.named import name_of
from jax_stepcache.solvers.table import table_to_json
from jax_stepcache.solvers.table_family import family_of, without_own


def save_settings(
    path: str | os.PathLike[str],
    calibration: Calibration | Sequence[Calibration],
    *more: Calibration | Sequence[Calibration],
) -> None:
    """Adds what calibrations found to a file, under a temporary name renamed then.

    Args:
        path: of the file. What is in it for other caches and budgets stays. Of a table
            and a schedule of as many calls, `TunedFile.options` has whichever came
            nearer; with the guidance that it was found with.
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
    others = of_other_weights(found, params)
    if others:
        raise ValueError(
            f"{target} has tables, schedules or noise levels of "
            f"{', '.join(others)} model calls that were found "
            "for other weights; calibrate them for these, or load without params"
        )
    return file


def _with_family(
    found: dict[str, Any], some: Sequence[Calibration], target: Any
) -> dict[str, Any]:
    """What was found, with a family of tables in the place of one."""
    family = family_of(*some)
    calls = str(family.num_steps)
    each = []
    for one in some:
        found = _with(found, one, target)
        each.append(found["tables"][calls])
    told = [one["provenance"] for one in each]
    marks = {one["weights"] for one in told}
    if len(marks) > 1:
        raise ValueError("the tables of a family were found for several weights")
    sampler = without_own(family, told[0]["sampler"])
    entry = {
        "table": family.to_json(),
        "wins": all(one["wins"] for one in each),
        "provenance": {"weights": marks.pop(), "sampler": sampler, "each": told},
    }
    return {**found, "tables": {**found["tables"], calls: entry}}


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
    found = {"num_steps": before or num_steps, **found}
    told = one.to_json()
    if one.cache == "bespoke":
        entry = {
            "table": table_to_json(one.cache_config["table"]),
            "provenance": _provenance(one, _SCALES),
        }
        return with_table(found, calls, entry, one.fit["starts"].get("tuned"))
    if one.cache == "static":
        entry = {
            "steps": one.fit["steps"],
            "forecast": one.cache_config["forecast"],
            "provenance": _provenance(one, (*_SCALES, *_LEVELS)),
        }
        return with_schedule(found, calls, entry)
    if one.cache == "none":
        entry = {
            "schedule": told["sampler"]["schedule"],
            "solver": name_of(one.fit["solver"]),
            "provenance": _provenance(one, _SCALES),
        }
        return {**found, "optimised": {**found.get("optimised", {}), calls: entry}}
    entry = told["cache_config"]
    return {**found, "settings": {**found.get("settings", {}), one.cache: entry}}


_SCALES = ("guidance_scale", "guidance_interval")
_LEVELS = ("shift", "final_noise", "schedule", "solver")
_COUNTED = ("samples", "held_out", "reference_steps")


def _provenance(one: Calibration, options: Sequence[str]) -> dict[str, Any]:
    """Where what was found comes from, how near it came, and what it holds for."""
    told = one.to_json()
    sampler = {name: told["sampler"][name] for name in options if name in one.sampler}
    if "solver" in sampler:
        sampler["solver"] = name_of(get_solver(one.sampler["solver"]))
    spread = {"spread": one.fit["spread"]} if "spread" in one.fit else {}
    return {
        **one.fit.get("provenance", {}),
        "sampler": {name: x for name, x in sampler.items() if x is not None},
        "quality": told["quality"],
        **spread,
        "plain": told["baseline"],
        **{name: one.fit[name] for name in _COUNTED if name in one.fit},
    }
