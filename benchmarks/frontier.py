"""Quality for model calls: caches, searched schedules, and plain fewer steps.

Every row is measured against the uncached 16-step result of the same weights with the
same noise: PSNR of the decoded video, RMSE of the action in world units, and success
of closed-loop episodes within their deadline. Each scene is sampled by itself, as a
robot samples. The baseline to beat is ``fewer_steps``: the same number of model calls
spent on a shorter schedule.

The search for schedules is here too. It looks at its own scenes and never at those of
the table.

    python benchmarks/frontier.py --json benchmarks/results/frontier.json
    python benchmarks/frontier.py --search models/tabletop/tuned.json
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache import Hold, Linear, LinearX0, mask_of_steps, static_schedule
from jax_stepcache.metrics import psnr, rmse
from jax_stepcache.registry import load_module

NUM_STEPS = 16
BUDGETS = (4, 5, 6, 8)
FORECASTS = {
    "hold": Hold(),
    "linear": Linear(),
    "linear_x0": LinearX0(),
    "linear, damped 0.25": Linear(damping=0.25),
    "linear, capped 1.5": Linear(max_ratio=1.5),
    "linear_x0, damped 0.5": LinearX0(damping=0.5),
    "linear_x0, capped 1.5": LinearX0(max_ratio=1.5),
}


class Scenes(NamedTuple):
    """Observations, noise keys, and the uncached result to measure against.

    Attributes:
        observations: pytree of [scenes, 1, ...] arrays: each is a batch of its own.
        keys: [scenes] PRNG keys of the noise.
        reference: the decoded uncached samples, [scenes, 1, ...].
    """

    observations: Any
    keys: jax.Array
    reference: Any


class Quality(NamedTuple):
    """How one way to sample does on a set of scenes, on average."""

    calls: float
    psnr: float
    action_rmse: float


@functools.partial(jax.jit, static_argnames=("num_inference_steps", "solver"))
def sample_each(
    params: jax_stepcache.Params,
    policy: Any,
    observations: Any,
    keys: jax.Array,
    num_inference_steps: int = NUM_STEPS,
    solver: str = "unipc",
) -> tuple[Any, jax.Array]:
    """Samples every scene alone.

    Returns:
        The decoded samples, [scenes, 1, ...], and the model calls of each.
    """

    def one(observation: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        result = jax_stepcache.sample(
            params,
            observation=observation,
            key=key,
            cache=policy,
            num_inference_steps=num_inference_steps,
            solver=solver,
        )
        return params.model.decode(result.sample), result.stats.model_calls

    return jax.vmap(one)(observations, keys)


def make_scenes(params: jax_stepcache.Params, seed: int, count: int) -> Scenes:
    """Draws scenes and samples them without a cache."""
    worlds, noise = jax.random.split(jax.random.key(seed))
    observations = jax.vmap(lambda k: params.model.example(k, 1))(
        jax.random.split(worlds, count)
    )
    keys = jax.random.split(noise, count)
    uncached = jax_stepcache.Uncached()
    reference, _ = sample_each(params, uncached, observations, keys)
    return Scenes(observations, keys, reference)


def measure(
    params: jax_stepcache.Params, scenes: Scenes, policy: Any, **options: Any
) -> Quality:
    """Samples scenes with a policy and compares with their reference."""
    decoded, calls = sample_each(
        params, policy, scenes.observations, scenes.keys, **options
    )
    return Quality(
        calls=float(calls.mean()),
        psnr=float(psnr(scenes.reference["video"], decoded["video"])),
        action_rmse=float(rmse(scenes.reference["action"], decoded["action"])),
    )


class Schedule(NamedTuple):
    """A candidate of the search: steps that run, and a forecast name per output."""

    steps: tuple[int, ...]
    video: str
    action: str

    def policy(self) -> Any:
        """The candidate as a policy."""
        forecast = {"video": _searched(self.video), "action": _searched(self.action)}
        return static_schedule(mask_of_steps(self.steps, NUM_STEPS), forecast)

    def neighbours(self, axis: int) -> list[Schedule]:
        """Candidates that differ in one thing.

        Args:
            axis: 0 for the video's forecast, 1 for the action's; beyond, the step that
                runs with index ``axis - 1`` comes earlier or later.

        Returns:
            The candidates.
        """
        if axis == 0:
            return [self._replace(video=name) for name in FORECASTS]
        if axis == 1:
            return [self._replace(action=name) for name in FORECASTS]
        others = self.steps[: axis - 1] + self.steps[axis:]
        moved = [self.steps[axis - 1] + by for by in (-2, -1, 1, 2)]
        return [
            self._replace(steps=tuple(sorted((*others, step))))
            for step in moved
            if 0 < step < NUM_STEPS and step not in others
        ]

    def longer(self) -> list[Schedule]:
        """Candidates with one more step that runs."""
        return [
            self._replace(steps=tuple(sorted((*self.steps, step))))
            for step in range(NUM_STEPS)
            if step not in self.steps
        ]


def _searched(name: str) -> Any:
    # Holding is a line without slope. Said so, it shares the line's compiled program.
    return Linear(damping=0.0) if name == "hold" else FORECASTS[name]


def gain(found: Quality, baseline: Quality) -> float:
    """How far ahead of the baseline, in dB, on the measure where it is least."""
    action = 20 * np.log10(baseline.action_rmse / max(found.action_rmse, 1e-12))
    return float(min(found.psnr - baseline.psnr, action))


def search(
    params: jax_stepcache.Params,
    scenes: Scenes,
    budget: int,
    starts: list[Schedule],
) -> tuple[Schedule, float]:
    """Finds a schedule and forecasts for a number of model calls.

    Coordinate ascent from an even spread, and from each of the given starts: the
    forecast of each output, then each step that runs, again and again until nothing is
    gained. Starts with fewer steps are first given more.

    Returns:
        The best candidate, and its gain over as many plain UniPC steps, in dB.
    """
    uncached = jax_stepcache.Uncached()
    baseline = measure(params, scenes, uncached, num_inference_steps=budget)
    score = functools.cache(
        lambda candidate: gain(measure(params, scenes, candidate.policy()), baseline)
    )
    spread = np.linspace(0, NUM_STEPS - 2, budget).round().astype(int)
    even = Schedule(tuple(int(step) for step in spread), "linear_x0", "hold")

    def climb(best: Schedule) -> Schedule:
        while len(best.steps) < budget:
            best = max(best.longer(), key=score)
        while True:
            before = best
            for axis in range(budget + 1):
                best = max([best, *best.neighbours(axis)], key=score)
            if best == before:
                return best

    best = max([climb(start) for start in (even, *starts)], key=score)
    return best, score(best)


def bundled(params: jax_stepcache.Params, budget: int) -> list[Schedule]:
    """The model's own schedule of so many calls, if there is one."""
    try:
        tuned = params.model.tuned(budget)
    except ValueError:
        return []
    names = {repr(known): name for name, known in FORECASTS.items()}
    by_output = {name: names[repr(tuned.forecast[name])] for name in tuned.forecast}
    return [Schedule(tuned.steps, **by_output)]


def contenders(params: jax_stepcache.Params) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every row of the table: its names, and the options that make it."""
    names: Any
    for name in ("hold", "linear", "linear_x0"):
        policy = jax_stepcache.step_cache(output="video", forecast=FORECASTS[name])
        names = {"policy": "step_cache", "forecast": name}
        yield names, {"policy": policy}
    lowest = jax_stepcache.step_cache(output=None)
    yield {"policy": "step_cache, lowest", "forecast": "hold"}, {"policy": lowest}

    masks = {
        f"static {n}": mask_of_steps(steps, NUM_STEPS)
        for n, steps in jax_stepcache.DREAMZERO_SCHEDULES.items()
    }
    for (label, mask), name in itertools.product(
        masks.items(), ("hold", "linear", "linear_x0")
    ):
        names = {"policy": label, "forecast": name}
        yield names, {"policy": static_schedule(mask, FORECASTS[name])}

    for budget in BUDGETS:
        tuned = params.model.tuned(budget)
        mask = mask_of_steps(tuned.steps, tuned.num_steps)
        policy = static_schedule(mask, tuned.forecast)
        names = {"policy": f"tuned {budget}", "forecast": _named(tuned.forecast)}
        yield names, {"policy": policy}
        for name in ("hold", "linear", "linear_x0"):
            names = {"policy": f"tuned {budget}, one forecast", "forecast": name}
            yield names, {"policy": static_schedule(mask, FORECASTS[name])}

    uncached = jax_stepcache.Uncached()
    for solver, steps in itertools.product(("unipc", "euler"), (NUM_STEPS, *BUDGETS)):
        names = {"policy": "fewer_steps", "forecast": "none"}
        options = {"policy": uncached, "num_inference_steps": steps, "solver": solver}
        yield names, options


def frontier(
    params: jax_stepcache.Params, scenes: Scenes, episodes: int
) -> list[dict[str, Any]]:
    """Measures every contender."""
    world = load_module(params.model.name)

    def row(contender: tuple[dict[str, Any], Any]) -> dict[str, Any]:
        names, options = contender
        quality = measure(params, scenes, **options)
        success = world.success_rate(params, episodes=episodes, **options)
        print(names, quality, f"success {success:.3f}", flush=True)
        return {
            "model": params.model.name,
            **names,
            "solver": options.get("solver", "unipc"),
            **quality._asdict(),
            # The uncached sampler's own row: no distance to itself, and none in JSON.
            "psnr": quality.psnr if np.isfinite(quality.psnr) else None,
            "success": success,
        }

    # One thread for each core: a loop of small steps keeps no more than one busy.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(row, contenders(params)))


def _named(forecast: Mapping[str, Any]) -> str:
    names = {repr(known): name for name, known in FORECASTS.items()}
    return ", ".join(
        f"{output} {names.get(repr(one), repr(one))}"
        for output, one in forecast.items()
    )


def search_all(params: jax_stepcache.Params, scenes: int) -> dict[str, Any]:
    """Searches every budget; the result is what ``tuned.json`` holds."""
    found, starts = {}, []
    drawn = make_scenes(params, seed=1, count=scenes)
    for budget in BUDGETS:
        best, ahead = search(params, drawn, budget, [*starts, *bundled(params, budget)])
        starts = [best]
        print(f"{budget} calls: {best}, {ahead:.2f} dB ahead", flush=True)
        forecast = {"video": best.video, "action": best.action}
        found[str(budget)] = {
            "steps": list(best.steps),
            "forecast": {k: _settings(FORECASTS[v]) for k, v in forecast.items()},
        }
    return {"num_steps": NUM_STEPS, "schedules": found}


def _settings(forecast: Any) -> dict[str, Any]:
    names = {Hold: "hold", Linear: "linear", LinearX0: "linear_x0"}
    numbers = {k: v for k, v in vars(forecast).items() if np.isfinite(v)}
    return {"name": names[type(forecast)], **numbers}


def main() -> None:
    """Searches, or measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="Quality for model calls.")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--search", type=Path, help="search, and write schedules here")
    parser.add_argument("--params", default="tabletop", help="bundled model or file")
    parser.add_argument("--scenes", type=int, default=64, help="for PSNR and RMSE")
    parser.add_argument("--episodes", type=int, default=512, help="for success")
    arguments = parser.parse_args()
    params = jax_stepcache.load_params(arguments.params)

    if arguments.search:
        write_json(arguments.search, search_all(params, arguments.scenes))
        return
    rows = frontier(
        params, make_scenes(params, 0, arguments.scenes), arguments.episodes
    )
    print(f"{device_name()}: {params.model.name}, against {NUM_STEPS} UniPC steps")
    print_table({f"{i}": row for i, row in enumerate(rows)})
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
