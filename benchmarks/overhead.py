"""What a cache costs besides the arithmetic it saves.

A synthetic network of at least 20 ms a call is sampled with each backend and without
a cache, in turn, in one process. Efficiency is the speed-up reached over the speed-up
that the saved operations promise (calls, of a cache around the whole forward; of one
inside the network what is left to do at every step counts too); 1 means that the gate,
the forecast and the bookkeeping are free. The compiled programs are compared too:
matrix products (one call site of the network; a signal from its first blocks is one
more) and temporary memory, in units of one velocity.

    python benchmarks/overhead.py --json benchmarks/results/overhead.json
"""

from __future__ import annotations

import argparse
import functools
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.measure.flops import forward_flops
from jax_stepcache.paths import path_option

MIN_CALL_SECONDS = 0.020
NUM_STEPS = 16


def _table(shift: float) -> jax_stepcache.SolverTable:
    return jax_stepcache.as_table("unipc", jax_stepcache.flow_schedule(8, shift))


# With these, every cache skips steadily: some steps and not all.
CACHES: dict[str, dict[str, Any]] = {
    "step_cache": {"cache": "step_cache"},
    "step_cache, linear": {"cache": "step_cache", "forecast": "linear"},
    "step_cache, linear_x0": {"cache": "step_cache", "forecast": "linear_x0"},
    "static": {"cache": "static", "cache_config": {"num_dit_steps": 8}},
    "tea_cache": {"cache": "tea_cache", "cache_config": {"rel_l1_thresh": 0.1}},
    "cache_dit": {"cache": "cache_dit", "cache_config": {"max_warmup_steps": 1}},
    "cache_dit, taylor": {
        "cache": "cache_dit",
        "cache_config": {"max_warmup_steps": 1, "enable_taylorseer": True},
    },
    "mag_cache": {
        "cache": "mag_cache",
        "cache_config": {"mag_ratios": (1.0, *[0.95] * (NUM_STEPS - 1))},
    },
    "sea_cache": {"cache": "sea_cache"},
    "first_block_cache": {"cache": "first_block_cache"},
    "taylor_seer": {"cache": "taylor_seer", "cache_config": {"cache_interval": 3}},
    "bespoke": {"cache": "bespoke", "cache_config": {"table": _table(1.0)}},
}
_MASKS = [[i % every == 0 for i in range(NUM_STEPS)] for every in (2, 3, 4)]
_RATIOS = [(1.0, *[ratio] * (NUM_STEPS - 1)) for ratio in (0.9, 0.95, 1.05)]
# Numbers of each backend, none of which may compile again.
SWEEPS: dict[str, dict[str, list[Any]]] = {
    "step_cache": {
        "velocity_sim_thresholds": [(0.95, 0.93), (0.99, 0.9), (0.5, -0.5)],
        "velocity_skip_countdowns": [(4, 2), (3, 1), (8, 4)],
    },
    "static": {"steps_mask": _MASKS, "num_dit_steps": [None] * 3},
    "tea_cache": {
        "rel_l1_thresh": [0.05, 0.2, 2.0],
        "coefficients": [(0, 0, 0, 1, 0), (0, 0, 1, 1, 0), (1, 2, 3, 4, 5)],
    },
    "cache_dit": {
        "residual_diff_threshold": [0.0, 0.1, 1.0],
        "max_warmup_steps": [1, 2, 4],
        "max_continuous_cached_steps": [-1, 2, 3],
        "max_cached_steps": [-1, 2, 8],
    },
    "mag_cache": {
        "mag_ratios": _RATIOS,
        "mag_threshold": [0.01, 0.1, 1.0],
        "mag_max_skip_steps": [1, 3, 5],
        "mag_retention_ratio": [0.1, 0.2, 0.5],
    },
    "sea_cache": {
        "sea_threshold": [0.0, 0.1, 1.0],
        "sea_max_consecutive_cached": [0, 2, 3],
        "sea_power_exp": [1.0, 2.0, 3.0],
    },
    "first_block_cache": {"threshold": [0.0, 0.1, 1.0]},
    "taylor_seer": {
        "cache_interval": [2, 3, 5],
        "disable_cache_before_step": [1, 3, 5],
    },
    "bespoke": {"table": [_table(shift) for shift in (2.0, 3.0, 5.0)]},
}


Weights = dict[str, jax.Array]


class Network(NamedTuple):
    """A residual MLP over tokens, shaped like a DiT: a small latent, a wide inside.

    Its answer barely changes from step to step.

    Attributes:
        model: its stages.
        weights: ``embed`` float32[channels, width], ``layers`` float32[layers, width,
            width] and ``head`` float32[width, channels].
        noise: float32[1, tokens, channels], also the shape of a velocity.
    """

    model: jax_stepcache.StagedDenoiser
    weights: Weights
    noise: jax.Array


def _embed(weights: Weights, x: jax.Array, t: jax.Array, _: None) -> tuple[Any, None]:
    return (x * (0.9 + t[:, None, None] * 1e-4)) @ weights["embed"], None


def _blocks(weights: Weights, h: jax.Array, _: None, start: int, stop: int) -> Any:
    # Over numbers, not over a part of the weights: that would be a copy of them.
    def layer(h: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        return h + 0.1 * jnp.tanh(h @ weights["layers"][number]), None

    return jax.lax.scan(layer, h, jnp.arange(start, stop))[0]


def _head(weights: Weights, h: jax.Array, _: None) -> jax.Array:
    return 0.01 * (h @ weights["head"]) + 1.0


def _modulated(weights: Weights, h: jax.Array, _: None) -> jax.Array:
    del weights
    return h


def make_network(
    layers: int, tokens: int = 256, channels: int = 64, width: int = 512
) -> Network:
    """Draws a network of so many layers."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {
        "embed": (channels, width),
        "layers": (layers, width, width),
        "head": (width, channels),
    }
    weights = {
        name: jax.random.normal(key, shape) / shape[-2] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    model = jax_stepcache.StagedDenoiser(layers, _embed, _blocks, _head, _modulated)
    return Network(model, weights, jax.random.normal(keys[3], (1, tokens, channels)))


def large_enough() -> Network:
    """Doubles the layers until a call takes long enough on this device."""
    layers = 4
    while True:
        network = make_network(layers)
        model, *arguments = network
        call = functools.partial(
            jax.jit(model), *arguments, jnp.full((1,), 500.0), None
        )
        if seconds_of(call) >= 1.25 * MIN_CALL_SECONDS:
            return network
        layers *= 2


def seconds_of(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median wall time of a call, compiled beforehand."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(
    network: Network, plain: Any, options: dict[str, Any], repeats: int
) -> dict[str, Any]:
    """Compares one cache with the uncached sampler.

    Args:
        network: what is sampled.
        plain: the uncached sampler, compiled.
        options: of `sample`, with the cache among them.
        repeats: timed runs of each.

    Returns:
        The row: efficiency, speed-up, calls, dots, temporary memory and traces.
    """
    both = {"uncached": {}, "cached": options}

    def run(settings: dict[str, Any]) -> jax_stepcache.SampleResult:
        return sample(network, network.weights, network.noise, settings)

    stats = {name: run(settings).stats for name, settings in both.items()}
    calls = {name: int(one.model_calls) for name, one in stats.items()}
    if not 0 < calls["cached"] < calls["uncached"]:
        raise ValueError(
            f"{options} made {calls['cached']} calls: choose other numbers"
        )
    flops = {
        name: forward_flops(
            network.weights, **shared(network, network.noise, settings)
        ).of(stats[name])
        for name, settings in both.items()
    }
    times: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(repeats):
        for name, settings in both.items():
            start = time.perf_counter()
            jax.block_until_ready(run(settings))
            times[name].append(time.perf_counter() - start)
    speedup = statistics.median(times["uncached"]) / statistics.median(times["cached"])

    cached = compiled(network, options)
    grown = temporary_bytes(cached) - temporary_bytes(plain)

    return {
        "efficiency": speedup / (flops["uncached"] / flops["cached"]),
        "speedup": speedup,
        "calls_uncached": calls["uncached"],
        "calls_cached": calls["cached"],
        "dots_uncached": count_dots(plain.as_text()),
        "dots_cached": count_dots(cached.as_text()),
        "temp_velocities": grown / network.noise.nbytes,
        "traces": count_traces(network, options),
    }


def shared(
    network: Network, noise: jax.Array, options: dict[str, Any]
) -> dict[str, Any]:
    """Options of `sample`: those of every cache, and its own. A table has its steps."""
    common = {"model": network.model, "noise": noise, **options}
    if options.get("cache") != "bespoke":
        common["num_inference_steps"] = NUM_STEPS
    return common


def sample(
    network: Network, weights: Weights, noise: jax.Array, options: dict[str, Any]
) -> jax_stepcache.SampleResult:
    """Samples the network."""
    return jax_stepcache.sample(weights, **shared(network, noise, options))


def count_traces(network: Network, options: dict[str, Any]) -> int:
    """How often the network is traced over a sweep of the cache's numbers."""
    traces = 0

    def counted(*arguments: Any) -> jax.Array:
        # Of all stages this is the one that no signal and no shape is asked of.
        nonlocal traces
        traces += 1
        return _head(*arguments)

    watched = network._replace(model=replace(network.model, head=counted))
    for settings in sweep(options):
        sample(watched, network.weights, network.noise, settings)
    return traces


def sweep(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The same cache with other numbers: none of these may compile again."""
    numbers = SWEEPS[options["cache"]]
    given = options.get("cache_config", {})
    others = [
        {**given, **dict(zip(numbers, values, strict=True))}
        for values in zip(*numbers.values(), strict=True)
    ]
    return [options, *[{**options, "cache_config": config} for config in others]]


def compiled(network: Network, options: dict[str, Any]) -> Any:
    """The compiled sampler."""

    def run(weights: Weights, noise: jax.Array) -> jax_stepcache.SampleResult:
        return sample(network, weights, noise, options)

    return jax.jit(run).lower(network.weights, network.noise).compile()


def count_dots(hlo: str) -> int:
    """Counts matrix products in a compiled program's text, library calls included."""
    # A library call may return a tuple, so its type may hold spaces.
    products = r"= .*?(?: dot\(| custom-call\(.*(?:gemm|matmul|cublas))"
    count = len(re.findall(products, hlo))
    if not count:
        raise ValueError("found no matrix product in the program: look how it is named")
    return count


def temporary_bytes(program: Any) -> int:
    """Bytes of temporary buffers that the compiler has planned."""
    return program.memory_analysis().temp_size_in_bytes


def main() -> None:
    """Runs the benchmark, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="What a cache costs.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    arguments = parser.parse_args()

    network = large_enough()
    plain = compiled(network, {})
    rows = {
        name: measure(network, plain, options, arguments.repeats)
        for name, options in CACHES.items()
    }
    layers = len(network.weights["layers"])
    print(f"{device_name()}: a network of {layers} layers, {NUM_STEPS} UniPC steps")
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
