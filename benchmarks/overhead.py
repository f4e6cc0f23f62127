"""What a cache costs besides the model calls it saves.

A synthetic network of at least 20 ms a call is sampled with each backend and without
a cache, in turn, in one process. Efficiency is the speed-up reached over the speed-up
that the saved calls promise; 1 means that the gate, the forecast and the bookkeeping
are free. The compiled programs are compared too: matrix products (one call site of the
network) and temporary memory, in units of one velocity.

    python benchmarks/overhead.py --json benchmarks/results/overhead.json
"""

from __future__ import annotations

import argparse
import functools
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from report import device_name, print_table, write_json

import jax_stepcache

MIN_CALL_SECONDS = 0.020
NUM_STEPS = 16
CACHES: dict[str, dict[str, Any]] = {
    "step_cache": {"cache": "step_cache"},
    "step_cache, linear": {"cache": "step_cache", "forecast": "linear"},
    "step_cache, linear_x0": {"cache": "step_cache", "forecast": "linear_x0"},
    "static": {"cache": "static", "cache_config": {"num_dit_steps": 8}},
}


class Network(NamedTuple):
    """A residual MLP over tokens, shaped like a DiT: a small latent, a wide inside.

    Attributes:
        weights: ``embed`` float32[channels, width], ``layers`` float32[layers, width,
            width] and ``head`` float32[width, channels].
        noise: float32[1, tokens, channels], also the shape of a velocity.
    """

    weights: dict[str, jax.Array]
    noise: jax.Array


def velocity(
    weights: dict[str, jax.Array], x: jax.Array, t: jax.Array, _: None
) -> jax.Array:
    """The synthetic network, whose answer barely changes from step to step."""

    def layer(h: jax.Array, weight: jax.Array) -> tuple[jax.Array, None]:
        return h + 0.1 * jnp.tanh(h @ weight), None

    h = (x * (0.9 + t[:, None, None] * 1e-4)) @ weights["embed"]
    h, _ = jax.lax.scan(layer, h, weights["layers"])
    return 0.01 * (h @ weights["head"]) + 1.0


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
    return Network(weights, jax.random.normal(keys[3], (1, tokens, channels)))


def large_enough() -> Network:
    """Doubles the layers until a call takes long enough on this device."""
    layers = 4
    while True:
        network = make_network(layers)
        call = functools.partial(
            jax.jit(velocity), *network, jnp.full((1,), 500.0), None
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


def measure(network: Network, options: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Compares one cache with the uncached sampler.

    Returns:
        The row: efficiency, speed-up, calls, dots, temporary memory and traces.
    """

    def run(**settings: Any) -> jax_stepcache.SampleResult:
        return jax_stepcache.sample(
            network.weights,
            model=velocity,
            noise=network.noise,
            num_inference_steps=NUM_STEPS,
            **settings,
        )

    calls = {
        name: int(jax.block_until_ready(run(**settings)).stats.model_calls)
        for name, settings in (("uncached", {}), ("cached", options))
    }
    times: dict[str, list[float]] = {"uncached": [], "cached": []}
    for _ in range(repeats):
        for name, settings in (("uncached", {}), ("cached", options)):
            start = time.perf_counter()
            jax.block_until_ready(run(**settings))
            times[name].append(time.perf_counter() - start)
    speedup = statistics.median(times["uncached"]) / statistics.median(times["cached"])

    plain, cached = compiled(network, {}), compiled(network, options)
    grown = temporary_bytes(cached) - temporary_bytes(plain)

    return {
        "efficiency": speedup / (calls["uncached"] / calls["cached"]),
        "speedup": speedup,
        "calls_uncached": calls["uncached"],
        "calls_cached": calls["cached"],
        "dots_uncached": count_dots(plain.as_text()),
        "dots_cached": count_dots(cached.as_text()),
        "temp_velocities": grown / network.noise.nbytes,
        "traces": count_traces(network, options),
    }


def count_traces(network: Network, options: dict[str, Any]) -> int:
    """How often the network is traced over a sweep of the cache's numbers."""
    traces = 0

    def counted(*arguments: Any) -> jax.Array:
        nonlocal traces
        traces += 1
        return velocity(*arguments)

    for settings in sweep(options):
        jax_stepcache.sample(
            network.weights,
            model=counted,
            noise=network.noise,
            num_inference_steps=NUM_STEPS,
            **settings,
        )
    return traces


def sweep(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The same cache with other numbers: none of these may compile again."""
    if options["cache"] == "static":
        masks = [[i % every == 0 for i in range(NUM_STEPS)] for every in (2, 3, 4)]
        return [
            options,
            *[{**options, "cache_config": {"steps_mask": mask}} for mask in masks],
        ]
    tiers = [((0.95, 0.93), (4, 2)), ((0.99, 0.9), (3, 1)), ((0.5, -0.5), (8, 4))]
    return [
        {
            **options,
            "cache_config": {
                "velocity_sim_thresholds": thresholds,
                "velocity_skip_countdowns": countdowns,
            },
        }
        for thresholds, countdowns in tiers
    ]


def compiled(network: Network, options: dict[str, Any]) -> Any:
    """The compiled sampler."""

    def run(weights: jax.Array, noise: jax.Array) -> jax_stepcache.SampleResult:
        return jax_stepcache.sample(
            weights,
            model=velocity,
            noise=noise,
            num_inference_steps=NUM_STEPS,
            **options,
        )

    return jax.jit(run).lower(*network).compile()


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
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    arguments = parser.parse_args()

    network = large_enough()
    rows = {
        name: measure(network, options, arguments.repeats)
        for name, options in CACHES.items()
    }
    layers = len(network.weights["layers"])
    print(f"{device_name()}: a network of {layers} layers, {NUM_STEPS} UniPC steps")
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
