"""Continuous batching: requests that wait for no other, against groups that do.

Requests of three kinds arrive in a mixed order, as they do where several people or
robots share a server: *previews* of 8 steps with loose StepCache thresholds, wanted
fast; the *usual* ones, 16 steps around vLLM-Omni's thresholds and somewhat above; and
*finals* of 24 steps with strict thresholds, wanted right. Each has a condition, a
noise, a threshold and a guidance scale of its own, drawn from a seeded generator. So
one takes 3 network calls and another 10 or 20. Compared are, over the same requests:

* ``calls``: network calls of `sample_many`.
* ``ideal_calls``: what all requests take alone, over the slots; no batch of this size
  can do with less. What `sample_many` makes beyond it is the end, when no request
  waits any more and slots stand empty beside the longest: its share falls with more
  requests, and with few it depends on where in the queue the longest one is.
* ``waiting_groups_calls``: groups in the order of arrival, each as large as the slots.
  Every request still decides for itself, but a group waits for its slowest. Whoever
  knows all requests beforehand may put those of as many steps into one group:
  ``sorted_groups_calls``.
* ``batch_mean_calls``: groups in lockstep, which skip a step where the mean over the
  group says so, as vLLM-Omni averages. A lockstep group has one step count and one
  threshold: requests are grouped by step count first, and the group gets the mean of
  its members' thresholds. Guidance scales stay each request's own. Its calls buy other
  outputs than were asked for, so how far those are from each request sampled alone is
  reported: PSNR over the frames of all requests, and how many were decided otherwise.
* ``throughput_gain``: wall time of the waiting groups over that of `sample_many`, the
  two being the same compiled loop but for how many requests wait in it. One by one
  through `sample` is timed too. All take turns; what is compiled is compiled before.

The JSON has these figures at the top, counts as totals over the models and the gain as
the smallest of theirs, and each model's own under ``models``.

    python benchmarks/batching.py --json benchmarks/results/batching.json
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache import Params, Request, SampleResult
from jax_stepcache.backends import resolve_policy
from jax_stepcache.measure.metrics import psnr
from jax_stepcache.network.beginning import draw_noise
from jax_stepcache.paths import path_option
from jax_stepcache.policy.policy import Policy

MODELS = ("tabletop", "dit")
CACHE = "step_cache"
SCALES = (1.25, 4.0)
# vLLM-Omni's second threshold, 0.93, is this much further from 1 than its first, 0.95.
_SECOND_TIER = 1.4


class Kind(NamedTuple):
    """A kind of request.

    Attributes:
        share: of all requests.
        num_steps: solver steps.
        slack: range of one minus the first threshold, drawn evenly in its logarithm.
    """

    share: float
    num_steps: int
    slack: tuple[float, float]


KINDS = {
    "preview": Kind(0.4, 8, (0.05, 0.15)),
    "usual": Kind(0.4, 16, (0.005, 0.05)),
    "final": Kind(0.2, 24, (0.0005, 0.005)),
}
MAX_STEPS = max(kind.num_steps for kind in KINDS.values())


def make_requests(params: Params, count: int, seed: int) -> list[Request]:
    """Draws the mix of requests.

    Args:
        params: the weights and their model.
        count: how many.
        seed: of everything that is drawn.

    Returns:
        The requests in the order of arrival.
    """
    model, draw = params.model, np.random.default_rng(seed)
    kinds = list(KINDS.values())
    chosen = draw.choice(len(kinds), count, p=[kind.share for kind in kinds])
    shown, noise = jax.random.split(jax.random.key(seed), (2, count))
    return [
        Request(
            observation=model.example(shown[i], 1),
            noise=draw_noise(noise[i], model.noise_struct(1)),
            cache_config={"velocity_sim_thresholds": _thresholds(kinds[k], draw)},
            num_inference_steps=kinds[k].num_steps,
            guidance_scale=float(draw.uniform(*SCALES)),
        )
        for i, k in enumerate(chosen)
    ]


def _thresholds(kind: Kind, draw: np.random.Generator) -> tuple[float, float]:
    slack = float(np.exp(draw.uniform(*np.log(kind.slack))))
    return 1 - slack, 1 - _SECOND_TIER * slack


def sample_alone(params: Params, requests: Sequence[Request]) -> list[SampleResult]:
    """Samples one request after the other."""
    return [
        jax_stepcache.sample(params, cache=CACHE, **request.options())
        for request in requests
    ]


def sample_slots(
    params: Params, requests: Sequence[Request], slots: int
) -> list[SampleResult]:
    """Samples requests that wait for no other."""
    return jax_stepcache.sample_many(
        params, requests, slots=slots, max_inference_steps=MAX_STEPS, cache=CACHE
    )


def sample_groups(
    params: Params, requests: Sequence[Request], slots: int
) -> list[list[SampleResult]]:
    """Samples groups, each of which waits for its slowest."""
    return [sample_slots(params, some, slots) for some in groups_of(requests, slots)]


def groups_of(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cuts a sequence into groups, the last of which may be smaller."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def network_calls(results: Sequence[SampleResult]) -> int:
    """Network calls that were made for some requests together."""
    batching = results[0].stats.batching
    if batching is None:
        raise ValueError("these requests were not sampled together")
    return int(batching.network_calls)


def ideal_calls(alone: Sequence[SampleResult], slots: int) -> float:
    """Network calls if no slot were ever empty."""
    return sum(int(one.stats.model_calls) for one in alone) / slots


def sorted_groups_calls(
    requests: Sequence[Request], alone: Sequence[SampleResult], slots: int
) -> int:
    """Network calls of groups of one step count each, which wait for their slowest."""
    return sum(
        max(int(alone[index].stats.model_calls) for index in group)
        for group in lockstep_groups(requests, slots)
    )


def lockstep_groups(requests: Sequence[Request], slots: int) -> list[list[int]]:
    """Groups of one step count each, as indices, in the order of arrival."""
    by_steps: dict[int | None, list[int]] = {}
    for index, request in enumerate(requests):
        by_steps.setdefault(request.num_inference_steps, []).append(index)
    return [
        list(group) for some in by_steps.values() for group in groups_of(some, slots)
    ]


def sample_lockstep(
    params: Params, requests: Sequence[Request]
) -> tuple[list[SampleResult], int]:
    """Samples requests of one step count that decide together.

    Args:
        params: the weights and their model.
        requests: with the same number of steps.

    Returns:
        The result of each, and the network calls.
    """
    steps = requests[0].num_inference_steps
    if steps is None or any(one.num_inference_steps != steps for one in requests):
        raise ValueError("requests in lockstep have one step count")
    result = _lockstep(
        params,
        mean_policy(params, requests, steps),
        _stacked([one.observation for one in requests]),
        _stacked([one.noise for one in requests]),
        jnp.asarray([one.guidance_scale for one in requests], jnp.float32),
        num_steps=steps,
    )
    each = [
        result._replace(sample=jax.tree.map(lambda x, i=i: x[i : i + 1], result.sample))
        for i in range(len(requests))
    ]
    return each, int(result.stats.model_calls)


def mean_policy(params: Params, requests: Sequence[Request], steps: int) -> Policy:
    """The policy of a lockstep group: StepCache with its members' mean thresholds."""
    each = [one.cache_config["velocity_sim_thresholds"] for one in requests]
    config = {"velocity_sim_thresholds": tuple(np.mean(each, axis=0).tolist())}
    return resolve_policy(CACHE, params.model, steps, config)


@functools.partial(jax.jit, static_argnames="num_steps")
def _lockstep(
    params: Params,
    policy: Policy,
    observation: Any,
    noise: Any,
    scales: jax.Array,
    *,
    num_steps: int,
) -> SampleResult:
    # Traced, so that there may be a guidance scale for each row.
    return jax_stepcache.sample(
        params,
        observation=observation,
        noise=noise,
        cache=policy,
        num_inference_steps=num_steps,
        guidance_scale=scales,
        decide="batch",
    )


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *trees)


class Distance(NamedTuple):
    """How far results are from those that each request has alone.

    Attributes:
        psnr: dB of all requests' decoded frames taken together; None for equal ones.
        max_difference: the largest of any number of a sample.
        redecided: how many requests computed other steps than alone.
    """

    psnr: float | None
    max_difference: float
    redecided: int


def distance(
    params: Params, alone: Sequence[SampleResult], others: Sequence[SampleResult]
) -> Distance:
    """Compares results with those of each request alone, in the same order."""
    wanted, found = (_stacked([one.sample for one in r]) for r in (alone, others))
    differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), wanted, found)
    # As one picture: a mean of decibels would be ruled by requests without an error.
    seen, other = (_frames(params.model.decode(x))[None] for x in (wanted, found))
    decibels = float(psnr(seen, other))
    return Distance(
        psnr=decibels if np.isfinite(decibels) else None,
        max_difference=float(max(jax.tree.leaves(differences))),
        redecided=sum(
            not np.array_equal(a.stats.computed, b.stats.computed)
            for a, b in zip(alone, others, strict=True)
        ),
    )


def _frames(decoded: Mapping[str, jax.Array]) -> jax.Array:
    return next(decoded[name] for name in ("video", "image") if name in decoded)


def seconds_in_turn(
    ways: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, float]:
    """Median wall time of each way, compiled beforehand.

    They take turns, so that a machine that others use is as slow for one as another.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(way())
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def measure(
    params: Params, requests: Sequence[Request], slots: int, repeats: int
) -> dict[str, Any]:
    """Compares the ways to batch on one model.

    Args:
        params: the weights and their model.
        requests: what arrives.
        slots: how many requests run side by side.
        repeats: timed runs of each way.

    Returns:
        The model's figures; see this module's documentation.
    """
    # What is looked at here has also compiled all that is timed below.
    alone = sample_alone(params, requests)
    many = sample_slots(params, requests, slots)
    waiting = sample_groups(params, requests, slots)

    averaged: list[SampleResult] = list(alone)
    averaged_calls = 0
    for group in lockstep_groups(requests, slots):
        results, calls = sample_lockstep(params, [requests[i] for i in group])
        averaged_calls += calls
        for index, result in zip(group, results, strict=True):
            averaged[index] = result

    seconds = seconds_in_turn(
        {
            "many": lambda: sample_slots(params, requests, slots),
            "waiting_groups": lambda: sample_groups(params, requests, slots),
            "one_by_one": lambda: sample_alone(params, requests),
        },
        repeats,
    )
    to_many, to_averaged = (distance(params, alone, x) for x in (many, averaged))
    return {
        "requests": len(requests),
        "slots": slots,
        "calls": network_calls(many),
        "ideal_calls": ideal_calls(alone, slots),
        "waiting_groups_calls": sum(map(network_calls, waiting)),
        "sorted_groups_calls": sorted_groups_calls(requests, alone, slots),
        "batch_mean_calls": averaged_calls,
        "throughput_gain": seconds["waiting_groups"] / seconds["many"],
        **{f"{name}_seconds": taken for name, taken in seconds.items()},
        **{f"many_{name}": x for name, x in to_many._asdict().items()},
        **{f"batch_mean_{name}": x for name, x in to_averaged._asdict().items()},
    }


def summary(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the JSON holds.

    Args:
        models: the figures of each, with the same slots.

    Returns:
        Totals over the models, the smallest gain, and the models' own figures.
    """
    rows = list(models.values())
    counts = (
        "calls",
        "ideal_calls",
        "waiting_groups_calls",
        "sorted_groups_calls",
        "batch_mean_calls",
    )
    return {
        "requests": sum(row["requests"] for row in rows),
        "slots": rows[0]["slots"],
        **{name: sum(row[name] for row in rows) for name in counts},
        "throughput_gain": min(row["throughput_gain"] for row in rows),
        "models": dict(models),
    }


def calls_table(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One model's ways to batch, to print."""

    def line(
        calls: float, seconds: float | None, distance: Sequence[Any] | None
    ) -> dict[str, Any]:
        dB, most, redecided = distance or (None, None, None)
        figures = {
            "network calls": calls,
            "of the ideal": calls / row["ideal_calls"],
            "seconds": seconds,
            "PSNR to alone, dB": dB,
            "max difference": None if most is None else f"{most:.1e}",
            "decided otherwise": redecided,
        }
        return {name: "-" if x is None else x for name, x in figures.items()}

    many, averaged = (
        [row[f"{way}_{name}"] for name in Distance._fields]
        for way in ("many", "batch_mean")
    )
    alone = row["ideal_calls"] * row["slots"]
    return {
        "ideal": line(row["ideal_calls"], None, None),
        "sample_many": line(row["calls"], row["many_seconds"], many),
        "groups that wait": line(
            row["waiting_groups_calls"], row["waiting_groups_seconds"], None
        ),
        "groups by steps that wait": line(row["sorted_groups_calls"], None, None),
        "groups by steps, mean decides": line(row["batch_mean_calls"], None, averaged),
        "one by one": line(alone, row["one_by_one_seconds"], None),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(description="Continuous batching.")
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    parser.add_argument(
        "--params", action="append", help=f"bundled model or file; default: {MODELS}"
    )
    parser.add_argument("--requests", type=int, default=128, help="for each model")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    given = parser.parse_args(arguments)
    for name in ("requests", "slots", "repeats"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(given, name)}")

    print(f"{device_name()}, jax {jax.__version__}")
    models = {}
    for source in given.params or MODELS:
        params = jax_stepcache.load_params(source)
        requests = make_requests(params, given.requests, given.seed)
        row = measure(params, requests, given.slots, given.repeats)
        models[params.model.name] = row
        print(f"\n{source}: {given.requests} requests, {given.slots} slots", flush=True)
        print_table(calls_table(row))
        print(f"throughput over groups that wait: {row['throughput_gain']:.2f}x")
    if given.json:
        write_json(given.json, summary(models))


if __name__ == "__main__":
    main()
