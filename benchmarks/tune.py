"""Finds a bundled model's own settings: ``cache="tuned"``, TeaCache's and MagCache's.

For each budget of model calls a schedule and a forecast for each output, searched on
samples that no other benchmark looks at. Searches start from the schedules that the
model has already, too, so another run never makes them worse on these samples.
Tables are fitted by ``tune_tables.py``, and stay as they are.

    python benchmarks/tune.py --params tabletop --write models/tabletop/tuned.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from report import device_name, write_json
from samples import samples_of

import jax_stepcache
from jax_stepcache.calibration import calibrate
from jax_stepcache.calibration.samples import Samples, make_samples
from jax_stepcache.calibration.schedule_search import Candidate, named, settings_of
from jax_stepcache.calibration.schedules import calibrate_schedule
from jax_stepcache.network.protocol import TunedSchedule
from jax_stepcache.paths import path_option

BUDGETS = (4, 5, 6, 8)
SEED = 1
# Where a threshold is calibrated; what is kept does not depend on it.
_TARGET = {"model_calls": 6}
_SETTINGS = {"tea_cache": "coefficients", "mag_cache": "mag_ratios"}


def search(
    samples: Samples,
    budgets: Sequence[int],
    replay: bool,
    keep: Mapping[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Searches a schedule for each budget.

    Each is to be ahead, on every output, of as many plain steps and of the schedule of
    the budget before: a lead on the weakest output alone would let others fall.

    Args:
        samples: to search on.
        budgets: model calls, rising: each search also starts from the one before.
        replay: False samples every candidate, see `calibrate`.
        keep: schedules that stay, by budget.

    Returns:
        By budget, the steps that run and the forecast of the others.
    """
    found: dict[str, dict[str, Any]] = {}
    before: tuple[Candidate, ...] = ()
    beside: Mapping[str, float] = {}
    for budget in budgets:
        target = {"model_calls": budget}
        if str(budget) in keep:
            one = keep[str(budget)]
            cache = {"cache": "tuned", "budget": budget}
            beside = samples.quality(samples.together(**cache)[1])
        else:
            best = calibrate_schedule(
                samples, target, replay=replay, starts=before, beside=beside
            )
            beside = best.quality
            forecast = best.cache_config["forecast"]
            one = {"steps": best.fit["steps"], "forecast": forecast}
        again = named(one["steps"], one["forecast"])
        before = () if again is None else (again,)
        found[str(budget)] = one
        print(f"{budget} calls: {one}, {beside} dB", flush=True)
    return found


def kept(
    params: jax_stepcache.Params, budgets: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """The schedules that the model has already, as `search` returns them."""
    return {
        str(budget): {
            "steps": list(tuned.steps),
            "forecast": settings_of(tuned.forecast),
        }
        for budget in budgets
        for tuned in _known(params, budget)
    }


def _known(params: jax_stepcache.Params, budget: int) -> list[TunedSchedule]:
    """What there is of so many calls: a model that is new has nothing yet."""
    try:
        return [params.model.tuned(budget)]
    except ValueError:
        return []


def fit(
    params: jax_stepcache.Params, samples: int | Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Fits what backends inside the network need to know of a model.

    Returns:
        By backend, its settings; and how good their fit was, where that is known.
    """
    settings, fits = {}, {}
    for cache, name in _SETTINGS.items():
        calibration = calibrate(
            params, samples=samples, target=_TARGET, cache=cache, key=_key()
        )
        print(calibration, flush=True)
        settings[cache] = {name: list(calibration.fit[name])}
        if "r_squared" in calibration.fit:
            fits[cache] = {"r_squared": calibration.fit["r_squared"]}
    return settings, fits


def _key() -> jax.Array:
    return jax.random.key(SEED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Searches, fits, and writes what ``tuned.json`` holds."""
    parser = argparse.ArgumentParser(description="A bundled model's own settings.")
    parser.add_argument("--params", default="tabletop", help="bundled model or file")
    parser.add_argument("--write", type=path_option, help="where to write the settings")
    parser.add_argument("--samples", type=int, default=64, help="to search on")
    parser.add_argument(
        "--replay", action="store_true", help="score by replaying, for large models"
    )
    parser.add_argument(
        "--budgets",
        type=int,
        nargs="*",
        choices=BUDGETS,
        default=BUDGETS,
        help="which schedules to search; the others stay as they are",
    )
    parser.add_argument(
        "--keep-settings",
        action="store_true",
        help="fit nothing anew: settings stay as they are in --write",
    )
    given = parser.parse_args(arguments)
    if given.keep_settings and not (given.write and given.write.is_file()):
        parser.error("--keep-settings needs --write with a file that is there")
    params = jax_stepcache.load_params(given.params)
    print(f"{device_name()}: {params.model.name}, {given.samples} samples", flush=True)
    keep = kept(params, [one for one in BUDGETS if one not in given.budgets])
    samples = samples_of(params, given.samples, _key())
    drawn = make_samples(params, None, samples, _key(), {}).measured()
    budgets = sorted({*given.budgets, *map(int, keep)})
    schedules = search(drawn, budgets, given.replay, keep)
    before = {}
    if given.write and given.write.is_file():
        before = json.loads(given.write.read_text())
    if given.keep_settings:
        settings, fits = before["settings"], before["fits"]
    else:
        settings, fits = fit(params, samples)
    if given.write:
        num_steps = params.model.defaults.num_inference_steps
        result = {
            "num_steps": num_steps,
            "schedules": schedules,
            "settings": settings,
            "fits": fits,
            "tables": before.get("tables", {}),
        }
        write_json(given.write, result)


if __name__ == "__main__":
    main()
