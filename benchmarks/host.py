"""The host's part of a call: checks, and the way to the compiled program and back.

Of a call of `sample`, which returns with its arrays still to come; of `sample_many` for
each of 64 requests; and of DreamZero's control step, small, without its two
compiled calls. Times are those of the calling thread on its processor, so what else a
machine does hardly shows.

    python benchmarks/host.py --json benchmarks/results/host.json
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import jax
import numpy as np
from dreamzero import ControlLoop, random_weights, small_model
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache import Params, sampling
from jax_stepcache.models.dreamzero.control import programs
from jax_stepcache.paths import path_option
from jax_stepcache.requests.compiled import advance
from jax_stepcache.requests.many import NO_LIMIT, check_many, placed, results_of

_CACHE = {
    "cache": "step_cache",
    "cache_config": {
        "velocity_sim_thresholds": [0.98],
        "velocity_skip_countdowns": [3],
    },
}


def host_milliseconds(repeats: int = 50, requests: int = 64) -> dict[str, float]:
    """What the host does, compiled beforehand.

    Args:
        repeats: timed calls of `sample`, and control steps.
        requests: how many `sample_many` is given.

    Returns:
        Milliseconds by name, see `_typical`.
    """
    rows = {"`sample`, `tabletop`": _of_sample(repeats)}
    for name in ("tabletop", "dit"):
        parts = _of_many(name, requests)
        rows |= {
            f"`sample_many`, {part}, `{name}`": each for part, each in parts.items()
        }
    return rows | {"a control step's Python": _of_control_step(repeats)}


def _of_sample(repeats: int) -> float:
    params = jax_stepcache.load_params("tabletop")
    table, key = params.model.example(jax.random.key(1)), jax.random.key(0)

    def call() -> Any:
        return jax_stepcache.sample(params, observation=table, key=key, **_CACHE)

    return _median(call, repeats)


def _of_many(name: str, count: int) -> dict[str, float]:
    """For each request: checks, the way into places, and results out of them."""
    params = jax_stepcache.load_params(name)
    keys = jax.random.split(jax.random.key(0), count)
    many = [
        jax_stepcache.Request(
            observation=params.model.example(key),
            key=key,
            num_inference_steps=8 + 4 * (i % 3),
            guidance_scale=1.5 + 0.5 * (i % 2),
        )
        for i, key in enumerate(keys)
    ]

    def check() -> Any:
        return check_many(params, many, slots=8, **_CACHE)

    checked = check()
    plan, weights = checked.admission.plan, checked.admission.weights
    told = np.arange(count, dtype=np.int32), np.int32(count), np.zeros(count, bool)
    ended = advance(plan, weights, placed(checked, count), *told, NO_LIMIT)
    parts = {
        "checks": check,
        "into place": lambda: placed(checked, count),
        "results": lambda: results_of(checked, *ended),
    }
    return {part: _median(call, 9) / count for part, call in parts.items()}


def _of_control_step(repeats: int) -> float:
    """What is left of a control step when the time in compiled calls is taken off."""
    model = small_model()
    loop = ControlLoop(Params(random_weights(model), model), robots=1)
    for _ in range(12):  # all positions of a window
        jax.block_until_ready(loop.step(4))
    taken = []
    with _timed_calls() as compiled:
        for _ in range(repeats):
            compiled.clear()
            start = time.thread_time()
            step = loop.step(4)
            taken.append(time.thread_time() - start - sum(compiled))
            jax.block_until_ready(step)
    assert len(compiled) == len(_COMPILED), "a step makes other compiled calls now"
    return 1e3 * _typical(taken)


# What a control step compiles: the frames into the cache, and the sampler.
_COMPILED = ((programs, "observe_in_place"), (sampling, "_run"))


@contextmanager
def _timed_calls() -> Iterator[list[float]]:
    """The seconds of each call of a compiled function, noted for a while."""
    seconds: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start = time.thread_time()
            returned = call(*arguments)
            seconds.append(time.thread_time() - start)
            return returned

        return run

    with ExitStack() as stack:
        for module, name in _COMPILED:
            run = timed(getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, run))
        yield seconds


def _median(call: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of a call; what it has started is waited for between."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(repeats):
        start = time.thread_time()
        returned = call()
        taken.append(1e3 * (time.thread_time() - start))
        jax.block_until_ready(returned)
    return _typical(taken)


def _typical(taken: list[float]) -> float:
    """The median of the faster half: what else a machine does only adds to it."""
    return statistics.median(sorted(taken)[: -(-len(taken) // 2)])


def main() -> None:
    """Runs the benchmark, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="The host's part of a call.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=50, help="timed calls of each")
    arguments = parser.parse_args()
    rows = host_milliseconds(arguments.repeats)
    print(f"{device_name()}: the host's part of")
    print_table({name: {"ms": each} for name, each in rows.items()})
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
