"""Every way to sample that the frontier compares."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scenes import NUM_STEPS, UNCACHED, Scenes, Way

import jax_stepcache
from jax_stepcache import mask_of_steps, static_schedule
from jax_stepcache.backends import resolve_policy
from jax_stepcache.calibration.schedule_search import FORECASTS
from jax_stepcache.calibration.sensitivity import sensitivities
from jax_stepcache.calibration.thresholds import SWEPT
from jax_stepcache.calibration.trajectory import follow
from jax_stepcache.options import Options, resolve

BUDGETS = (4, 5, 6, 8)
FEW = (2, 3, *BUDGETS)
AIMS = (2, 3, 4, 5, 6, 8, 12)
NAMED = ("hold", "linear", "linear_x0")


class Contender(NamedTuple):
    """A row of the table.

    Attributes:
        policy: its name; that of a backend comes first in it.
        forecast: what skipped steps use, in words.
        way: how it samples.
        plays: whether closed-loop episodes are played, where the model acts.
    """

    policy: str
    forecast: str
    way: Way
    plays: bool = False


Family = list[Contender]
"""Contenders that share a compiled program, or should run one after the other."""


class Dial(NamedTuple):
    """A backend with a threshold, turned until it comes to so many model calls.

    Attributes:
        name: the contenders', to which the threshold is added.
        cache: the backend.
        config: its other settings.
        calls: to aim at. That of 6 plays, if any of the dial's do.
        forecast: in words.
        plays: whether one of them plays.
    """

    name: str
    cache: str
    config: Mapping[str, Any]
    calls: tuple[int, ...]
    forecast: str = "hold"
    plays: bool = False


def _db_cache(
    calls: tuple[int, ...],
    warmup: int,
    order: int = 0,
    last: int = 0,
    kind: str | None = None,
) -> Dial:
    return Dial(
        f"cache_dit F1B{last}, warm-up {warmup}",
        "cache_dit",
        {
            "max_warmup_steps": warmup,
            "Bn_compute_blocks": last,
            "enable_taylorseer": order > 0,
            "taylorseer_order": max(order, 1),
            "calibrator_type": kind,
        },
        calls,
        kind or (f"taylor {order}" if order else "hold"),
        plays=(warmup, order, last, kind) == (1, 0, 0, None),
    )


# What is no setting that `calibrate` finds; of 1 all is skipped but the warm-up.
_RANGES = {
    **SWEPT,
    "db_prune": ("residual_diff_threshold", np.geomspace(1e-3, 1.0, 120)),
}

# With vLLM-Omni's warm-up of 4, and at most 3 skipped steps in a row, DBCache makes 7
# calls or more. SeaCache skips at most 2 in a row unless told otherwise, which is 6.
_DIALS: tuple[tuple[Dial, ...], ...] = (
    (Dial("tea_cache", "tea_cache", {}, AIMS, plays=True),),
    (_db_cache(AIMS, 1), _db_cache((7, 8, 12), 4)),
    (_db_cache(AIMS, 1, order=1), _db_cache((7, 8, 12), 4, order=1)),
    (_db_cache(AIMS, 1, order=2), _db_cache((7, 8, 12), 4, order=2)),
    (_db_cache((6, 8), 2, kind="foca"), _db_cache((7, 8, 12), 4, kind="foca")),
    (_db_cache((7, 8, 12), 4, kind="dmd"),),
    (_db_cache(AIMS, 1, last=1), _db_cache((7, 8, 12), 4, last=1)),
    (Dial("mag_cache", "mag_cache", {}, AIMS, plays=True),),
    (
        Dial("sea_cache", "sea_cache", {}, (6, 8, 12), "newton 1", plays=True),
        Dial(
            "sea_cache, no cap",
            "sea_cache",
            {"sea_max_consecutive_cached": 0},
            (2, 3, 4, 5, 6),
            "newton 1",
        ),
    ),
    (Dial("easy_cache", "easy_cache", {"ret_steps": 2}, AIMS, "offset"),),
    (Dial("di_cache", "di_cache", {"ret_ratio": 0.1}, AIMS, "aligned"),),
    (Dial("sen_cache", "sen_cache", {}, AIMS),),
    (Dial("first_block_cache", "first_block_cache", {}, AIMS, plays=True),),
    (
        Dial(
            "db_prune",
            "db_prune",
            {"max_warmup_steps": 1, "max_continuous_cached_steps": -1},
            AIMS,
        ),
    ),
    (
        Dial(
            "db_prune, rising",
            "db_prune",
            {
                "max_warmup_steps": 1,
                "max_continuous_cached_steps": -1,
                "enable_dynamic_prune_threshold": True,
                "enable_taylorseer": True,
            },
            AIMS,
            "taylor 1",
        ),
    ),
)


def families(model: Any) -> list[Family]:
    """Contenders without a threshold to find, measurable in any order."""
    found = [*_plain(), *_whole(model), *_static(), _tuned(model), *_bespoke(model)]
    for name in ("hold", "linear"):
        found.append([_cfg_cache(model, name, every) for every in (2, 3, 5)])
    for order in (1, 2):
        found.append([_taylor_seer(model, every, order) for every in (2, 3, 5)])
        found.append([_hi_cache(model, every, order) for every in (2, 3, 5)])
    found.append([_masked(model, name) for name in ("medium", "fast")])
    return found


def dialled(scenes: Scenes) -> list[functools.partial[Family]]:
    """Contenders whose thresholds have yet to be found; call one for its family.

    Args:
        scenes: to find them on; others than those of the table.

    Returns:
        One function for each family.
    """
    return [functools.partial(_turned, scenes, dials) for dials in _DIALS]


def _plain() -> Iterator[Family]:
    yield [Contender("uncached", "none", UNCACHED, plays=True)]
    # Between the tuned budgets and all steps, so that larger shares have a rival too.
    for steps in (*FEW, 10, 12):
        way = UNCACHED._replace(num_steps=steps)
        yield [Contender("fewer_steps", "none", way, plays=steps in FEW)]
    for steps in (*BUDGETS, NUM_STEPS):
        way = UNCACHED._replace(num_steps=steps, solver="euler")
        yield [Contender("fewer_steps", "none", way)]


def _whole(model: Any) -> Iterator[Family]:
    for name in NAMED:
        cache = jax_stepcache.step_cache(
            output=model.signal_output, forecast=FORECASTS[name]
        )
        yield [Contender("step_cache", name, Way(cache), plays=True)]
    if model.outputs is None:
        return
    cache = jax_stepcache.step_cache(output=None)
    yield [Contender("step_cache, lowest", "hold", Way(cache), plays=True)]


def _static() -> Iterator[Family]:
    for name in NAMED:
        yield [
            Contender(
                f"static {calls}",
                name,
                Way(static_schedule(mask_of_steps(steps, NUM_STEPS), FORECASTS[name])),
                plays=True,
            )
            for calls, steps in jax_stepcache.DREAMZERO_SCHEDULES.items()
        ]


def _tuned(model: Any) -> Family:
    family = []
    for budget in BUDGETS:
        tuned = model.tuned(budget)
        cache = static_schedule(
            mask_of_steps(tuned.steps, tuned.num_steps), tuned.forecast
        )
        words = _in_words(tuned.forecast)
        family.append(Contender(f"tuned {budget}", words, Way(cache), plays=True))
    return family


def _bespoke(model: Any) -> Iterator[Family]:
    """The model's tables, each a program of its own; those that there are."""
    for budget in FEW:
        try:
            tables = model.bespoke(budget).tables
        except ValueError:
            continue
        way = UNCACHED._replace(num_steps=budget, solver="table", tables=tables)
        yield [Contender(f"bespoke {budget}", "none", way, plays=True)]


def _taylor_seer(model: Any, every: int, order: int) -> Contender:
    config = {"cache_interval": every, "max_order": order}
    cache = resolve_policy("taylor_seer", model, NUM_STEPS, config)
    plays = (every, order) == (5, 1)
    return Contender(f"taylor_seer every {every}", f"taylor {order}", Way(cache), plays)


def _cfg_cache(model: Any, forecast: str, every: int) -> Contender:
    config = {
        "unconditional_batch_skip_range": every,
        "unconditional_batch_timestep_skip_range": (-1, 1001),
        "forecast": forecast,
    }
    cache = resolve_policy("cfg_cache", model, NUM_STEPS, config)
    return Contender(f"cfg_cache every {every}", forecast, Way(cache))


def _hi_cache(model: Any, every: int, order: int) -> Contender:
    config = {"cache_interval": every, "max_order": order}
    cache = resolve_policy("hi_cache", model, NUM_STEPS, config)
    return Contender(f"hi_cache every {every}", f"hermite {order}", Way(cache))


def _masked(model: Any, name: str) -> Contender:
    config = {"scm_steps_mask_policy": name, "scm_steps_policy": "static"}
    cache = resolve_policy("cache_dit", model, NUM_STEPS, config)
    return Contender(f"cache_dit, mask {name}", "hold", Way(cache))


def _turned(scenes: Scenes, dials: tuple[Dial, ...]) -> Family:
    found: dict[str, Contender] = {}
    for dial in dials:
        for contender in _turn(scenes, dial):
            # Of two aims, one may be out of reach, and where the other is the nearest.
            found.setdefault(f"{contender.policy} {contender.forecast}", contender)
    return list(found.values())


def _turn(scenes: Scenes, dial: Dial) -> Iterator[Contender]:
    """Turns a dial to each number of calls, in the mean over the scenes."""
    name, grid = _RANGES[dial.cache]
    thresholds = [float(f"{threshold:.3g}") for threshold in grid]
    measured = _sensed(scenes) if dial.cache == "sen_cache" else {}

    def policy(place: int) -> Any:
        config = {**measured, **dial.config, name: thresholds[place]}
        return resolve_policy(dial.cache, scenes.params.model, NUM_STEPS, config)

    @functools.cache
    def made(place: int) -> float:
        return scenes.calls(policy(place))

    for calls in dial.calls:
        # The higher the threshold, the fewer calls; some backends keep to a least.
        reachable = max(calls, made(len(grid) - 1))
        low, high = 0, len(grid) - 1
        while low < high:
            middle = (low + high) // 2
            if made(middle) > reachable:
                low = middle + 1
            else:
                high = middle
        best = min((low, max(low - 1, 0)), key=lambda p: abs(made(p) - reachable))
        label = f"{dial.name}, {thresholds[best]:g}"
        plays = dial.plays and calls == 6
        yield Contender(label, dial.forecast, Way(policy(best)), plays)


def _sensed(scenes: Scenes) -> dict[str, Any]:
    """SenCache's table, measured on the scenes that its threshold is found on."""
    each = [
        resolve(scenes.params, Options(observation=observation, key=key))
        for observation, key in zip(scenes.observations, scenes.keys, strict=True)
    ]
    table = sensitivities(each, [follow(one) for one in each])
    return {"sencache_sensitivities": table}


def _in_words(forecast: Any) -> str:
    names = {repr(known): name for name, known in FORECASTS.items()}
    if isinstance(forecast, Mapping):
        each = (f"{output} {_in_words(one)}" for output, one in forecast.items())
        return ", ".join(each)
    return names.get(repr(forecast), repr(forecast))
