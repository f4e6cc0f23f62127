"""Caching beside the uncached sampler, and beside simply taking fewer steps."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jax_stepcache.backends import CacheBackend, TunedBackend, resolve_cache
from jax_stepcache.check import fetched
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.measure.metrics import psnr, rmse
from jax_stepcache.network.params import Params
from jax_stepcache.options import TABLE_BRINGS
from jax_stepcache.policy.named import Uncached
from jax_stepcache.policy.policy import Policy
from jax_stepcache.sampling import sample


class Contender(NamedTuple):
    """A way to sample.

    Attributes:
        name: what tables call it.
        options: the options of `sample`.
    """

    name: str
    options: Mapping[str, Any]


class Comparison(NamedTuple):
    """One row of the comparison.

    Attributes:
        name: the contender's name.
        result: its sample and statistics.
        seconds: median wall time of one call, compiled beforehand.
        speedup: the first contender's time over this one's.
        psnr: dB, of the decoded video or image against the first contender's.
        action_rmse: of the decoded actions, in world units; NaN of a model without.
    """

    name: str
    result: SampleResult
    seconds: float
    speedup: float
    psnr: float
    action_rmse: float


def contenders(
    params: Params,
    cache: str,
    solver_options: Mapping[str, Any],
    cache_options: Mapping[str, Any],
    *,
    observation: Any,
    key: jax.Array,
) -> list[Contender]:
    """The rows that a user of a cache should see.

    Args:
        params: a bundled model.
        cache: the name of the backend to judge.
        solver_options: options of `sample` that all rows share.
        cache_options: options of `sample` that belong to the cache.
        observation: what the model is shown.
        key: draws the noise.

    Returns:
        Uncached; the cache; the schedule tuned for as many model calls, where there is
        one; and as many plain steps.
    """
    judged = Contender(cache, {**solver_options, "cache": cache, **cache_options})
    if cache == "none":
        return [judged]
    result = sample(params, observation=observation, key=key, **judged.options)
    calls = int(fetched(result.stats.model_calls))
    rows = [Contender("uncached", solver_options), judged]
    tuned = {**solver_options, "cache": "tuned", "budget": calls}
    plain = {**solver_options, "num_inference_steps": calls}
    try:
        found = TunedBackend({"budget": calls})
        brings = {k: x for k, x in solver_options.items() if k in TABLE_BRINGS}
        if found.tables(params.model, brings) is None:
            found.policy(params.model, len(result.stats.computed))
    except ValueError:
        pass  # no search was made for this budget and step count
    else:
        if cache != "tuned":
            rows.append(Contender(f"tuned, {calls} calls", tuned))
    return [*rows, Contender(f"{calls} plain steps", plain)]


def policy_of(params: Params, row: Contender) -> tuple[Policy, dict[str, Any]]:
    """A contender's policy, and the rest of its options, for loops of one's own.

    Args:
        params: a bundled model.
        row: the contender.

    Returns:
        The policy, and the row's options without those of the cache; where it brings
        tables, these are the schedule among them.
    """
    options = dict(row.options)
    cache = options.pop("cache", None)
    settings = {
        name: options.pop(name, None) for name in ("cache_config", "budget", "forecast")
    }
    found = resolve_cache(cache, params.model, **settings)
    if not isinstance(found, CacheBackend):
        return found, options
    asked = {name: x for name, x in options.items() if name in TABLE_BRINGS}
    tables = found.tables(params.model, asked)
    if tables is not None:
        left = {name: x for name, x in options.items() if name not in TABLE_BRINGS}
        return Uncached(), {**left, "schedule": tables}
    steps = options.get(
        "num_inference_steps", params.model.defaults.num_inference_steps
    )
    return found.policy(params.model, steps), options


def compare(
    params: Params,
    rows: Sequence[Contender],
    *,
    observation: Any,
    key: jax.Array,
    repeats: int = 5,
) -> list[Comparison]:
    """Samples with each contender from the same observation and the same noise.

    Args:
        params: a bundled model that decodes to a ``video`` or an ``image``, and maybe
            to an ``action``.
        rows: the contenders; the first is the reference.
        observation: what the model is shown.
        key: draws the noise, the same for all.
        repeats: timed calls of each, in turn, so that a busy machine slows all alike.

    Returns:
        One row for each contender.
    """

    def run(row: Contender) -> SampleResult:
        result = sample(params, observation=observation, key=key, **row.options)
        return jax.block_until_ready(result)

    results = [run(row) for row in rows]
    times: list[list[float]] = [[] for _ in rows]
    for _ in range(repeats):
        for row, taken in zip(rows, times, strict=True):
            start = time.perf_counter()
            run(row)
            taken.append(time.perf_counter() - start)
    seconds = [statistics.median(taken) for taken in times]
    decoded = [params.model.decode(result.sample) for result in results]
    seen = next((name for name in ("video", "image") if name in decoded[0]), None)
    if seen is None:
        raise ValueError(
            f"{params.model.name} decodes to {sorted(decoded[0])}; a comparison needs "
            "a 'video' or an 'image'"
        )

    def action_rmse(shown: Mapping[str, Any]) -> float:
        if "action" not in shown:
            return math.nan
        return float(rmse(decoded[0]["action"], shown["action"]))

    return [
        Comparison(
            name=row.name,
            result=result,
            seconds=second,
            speedup=seconds[0] / second,
            psnr=float(psnr(decoded[0][seen], shown[seen])),
            action_rmse=action_rmse(shown),
        )
        for row, result, second, shown in zip(
            rows, results, seconds, decoded, strict=True
        )
    ]
