"""What a step takes whose network call is skipped, on one core.

SiT's transformer, 12 blocks of width 384, reads 64 tokens of random weights in float32.
StepCache makes two calls and skips all steps after, so what more steps take is what
they take when they are skipped: the gate, the forecast, the solver's step, and whatever
the compiled loop copies. Last come whole samples of 16 steps at 4 calls: what is left
when four bare calls are taken off, over the twelve steps that are skipped; with weights
that lie on the device, and with NumPy arrays, which go there at every call.

    python benchmarks/skipped.py --json benchmarks/results/skipped.json
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from report import device_name, print_table, write_json

from jax_stepcache import Params, sample
from jax_stepcache.models.dit import DiTConfig, DiTModel
from jax_stepcache.models.dit.network.parameters import weight_shapes
from jax_stepcache.paths import path_option

CONFIG = DiTConfig(input_size=16, hidden_size=384, depth=12, num_heads=6)
FEW, MANY = 8, 1032
CALLS = 2
# Whatever the cosine is it passes, and its countdown is longer than any run.
SKIPPING = {
    "velocity_sim_thresholds": [-1.0],
    "velocity_skip_countdowns": [10 * MANY],
}
FORECASTS = ("hold", "linear", "linear_x0")
SOLVERS = ("euler", "unipc")


class Case(NamedTuple):
    """A sampler whose steps are counted.

    Attributes:
        params: of the network.
        options: of `sample`.
    """

    params: Params
    options: dict[str, Any]

    def run(self, num_steps: int) -> Any:
        """Samples in so many steps."""
        return sample(
            self.params,
            condition=np.array([3]),
            noise=np.ones((1, 16, 16, 4), np.float32),
            guidance_scale=1.0,
            num_inference_steps=num_steps,
            **self.options,
        )


def drawn() -> Params:
    """The network, its weights small enough that no sum overflows."""
    rng = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda x: jax.device_put(0.02 * rng.standard_normal(x.shape, np.float32)),
        weight_shapes(CONFIG),
    )
    return Params(weights, DiTModel(CONFIG))


def rows(repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a skipped step and of a call, by solver and forecast."""
    params = drawn()
    of_the_host = Params(jax.tree.map(np.array, params.weights), params.model)
    return {
        f"{solver}, {forecast}": measured(params, solver, forecast, repeats)
        for solver in SOLVERS
        for forecast in FORECASTS
    } | {
        "12 of 16 steps": whole(params, params, repeats),
        "12 of 16 steps, weights as NumPy arrays": whole(of_the_host, params, repeats),
    }


def measured(
    params: Params, solver: str, forecast: str, repeats: int
) -> dict[str, float]:
    """One row; runs of few and of many steps take turns.

    Raises:
        ValueError: if a run did not make the calls that it stands for.
    """
    skips = {"cache": "step_cache", "cache_config": SKIPPING, "forecast": forecast}
    cached = Case(params, {"solver": solver, **skips})
    for steps in (FEW, MANY):
        made = int(cached.run(steps).stats.model_calls)
        if made != CALLS:
            raise ValueError(f"{made} calls were made, not {CALLS}")
    runs = [lambda: cached.run(FEW).sample, lambda: cached.run(MANY).sample]
    few, many = fastest(runs, repeats)
    return {
        "skipped_milliseconds": 1e3 * (many - few) / (MANY - FEW),
        "call_milliseconds": 1e3 * few / CALLS,
    }


def whole(given: Params, params: Params, repeats: int) -> dict[str, float]:
    """What a sample takes besides its calls, for each step that it skips.

    Args:
        given: the weights that are sampled with.
        params: the same on the device, for a bare call.
        repeats: timed runs of each.

    Returns:
        The row.

    Raises:
        ValueError: if the sample did not make the calls that are taken off.
    """
    steps, made = 16, 4
    skips = {"velocity_sim_thresholds": [-1.0], "velocity_skip_countdowns": [4]}
    cached = Case(given, {"cache": "step_cache", "cache_config": skips})
    if int(cached.run(steps).stats.model_calls) != made:
        raise ValueError(f"these settings do not make {made} calls")
    bare = jax.jit(params.model.denoise)
    shown = np.ones((1, 16, 16, 4), np.float32), np.full(1, 500.0, np.float32)

    def call() -> Any:
        return bare(params.weights, *shown, np.array([3]))

    sampled, called = fastest([lambda: cached.run(steps).sample, call], repeats)
    return {
        "skipped_milliseconds": 1e3 * (sampled - made * called) / (steps - made),
        "call_milliseconds": 1e3 * called,
    }


def fastest(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """The processor's seconds, medians of the faster half: others only add to it."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, seconds in zip(calls, taken, strict=True):
            start = time.process_time()
            jax.block_until_ready(call())
            seconds.append(time.process_time() - start)
    return [statistics.median(sorted(s)[: -(-len(s) // 2)]) for s in taken]


def main() -> None:
    """Runs the benchmark, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="What a skipped step takes.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=20, help="timed runs of each")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Before the first array: that is when JAX counts the cores that it has.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    else:
        print("this system binds no process to a core: all of them are used")
    result = rows(arguments.repeats)
    print(f"{device_name()}, one core: {CONFIG.depth} blocks, {CONFIG.tokens} tokens")
    print_table(result)
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
