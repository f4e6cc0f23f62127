"""How long DreamZero's control step takes, beside what the device could do at best.

Random weights of any size, drawn on the device. Measured are one guided call of the
network (both branches as one batch), one prefill (observed frames into the KV cache),
and whole control steps of 16 solver steps: uncached, and with StepCache at 4 and at 6
calls. The floor is the matrix products' arithmetic over the rate of a large square
product, measured on the spot; utilisation is the floor over the time.

    python benchmarks/dreamzero.py --config droid-14b --dtype bf16 --json FILE
    python benchmarks/dreamzero.py --config small   # a processor is enough
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import functools
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from report import device_name, print_table, write_json

from jax_stepcache import Params
from jax_stepcache.loop.result import Stats
from jax_stepcache.models.dreamzero import (
    ControlStep,
    DreamZeroConfig,
    DreamZeroModel,
    DreamZeroPipeline,
    Observation,
    Session,
    weight_shapes,
)
from jax_stepcache.models.dreamzero.network.flops import count_flops
from jax_stepcache.models.dreamzero.network.kv_cache import slots
from jax_stepcache.models.dreamzero.session.observation import (
    complete,
    observation_struct,
)
from jax_stepcache.models.dreamzero.session.session import Observed, observe
from jax_stepcache.network.registry import load_model
from jax_stepcache.paths import path_option

NUM_STEPS = 16
CONFIGS = ("droid-14b", "wan22-5b", "tabletop", "small")
DTYPES = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "f32": "float32",
    "float32": "float32",
}
# Random weights need not give the cosines of trained ones, so all of them pass the only
# tier, and its countdown alone says which steps run. After the first two runs: a reuse,
# then `countdown` steps of which the last one runs, and so on. That is 4 calls of 16
# with a countdown of 4 (steps 0, 1, 6, 11), and 6 with one of 2 (0, 1, 4, 7, 10, 13).
ANY_COSINE = -1.0
COUNTDOWNS = {4: 4, 6: 2}


class Machine(NamedTuple):
    """What the measurements are held against.

    Attributes:
        matrix_size: rows and columns of the product that was timed.
        flops_per_second: its rate in the activations' dtype.
    """

    matrix_size: int
    flops_per_second: float


class ControlLoop:
    """Robots that are shown the same frames at every step.

    The session is handed on from step to step and its buffers are reused, as in a
    control loop that runs for long: one KV cache, at every position of the window.
    """

    def __init__(self, params: Params, robots: int):
        self.params = params
        self.model = cast("DreamZeroModel", params.model)
        self.robots = robots
        c = self.model.dit
        self.rng = np.random.default_rng(0)
        struct = observation_struct(self.model.size, robots)
        self.shown = {
            name: self._draw(struct[name].shape)
            for name in ("latents", "state", "image", "y", "first")
            if struct[name] is not None
        }
        prompt = (robots, c.text_len, c.text_dim)
        text, negative = self._draw(prompt), self._draw(prompt)
        self.pipelines = {
            calls: self._pipeline(calls) for calls in (NUM_STEPS, *COUNTDOWNS)
        }
        start = self.pipelines[NUM_STEPS].start
        self.session: Session = start(text, negative)
        self.observation: Observation = complete(
            self.model.size, self.session.position, self.shown
        )

    def _draw(self, shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(self.rng.standard_normal(shape, np.float32))

    def _pipeline(self, calls: int) -> DreamZeroPipeline:
        if calls == NUM_STEPS:
            return DreamZeroPipeline(self.params, cache_backend="none")
        return DreamZeroPipeline(
            self.params,
            cache_backend="step_cache",
            cache_config={
                "velocity_sim_thresholds": (ANY_COSINE,),
                "velocity_skip_countdowns": (COUNTDOWNS[calls],),
            },
        )

    def prefill(self) -> Observed:
        """Reads the frames into the cache, and moves on."""
        observed = _observe(
            self.model.size, self.params.weights, self.session, self.observation
        )
        self.session = observed.session
        return observed

    def step(self, calls: int) -> ControlStep:
        """Takes a control step of so many calls, and moves on."""
        taken = self.pipelines[calls](
            self.session, self.shown, num_inference_steps=NUM_STEPS
        )
        self.session = taken.session
        return taken

    def network_call(self, observed: Observed) -> Callable[[], Any]:
        """One call of the network for both branches of all robots."""
        rows = 2 * self.robots
        noise = self.model.noise_struct(rows)
        sample = {name: self._draw(struct.shape) for name, struct in noise.items()}
        t = {name: jnp.full(rows, 500.0) for name in sample}
        return functools.partial(
            _call,
            self.model,
            self.params.weights,
            sample,
            t,
            observed.condition,
        )


@functools.partial(jax.jit, static_argnums=0)
def _call(model: DreamZeroModel, *arguments: Any) -> dict[str, jax.Array]:
    return model.denoise(*arguments)


_observe = jax.jit(observe, static_argnums=0, donate_argnums=2)


def small_model() -> DreamZeroModel:
    """DROID's transformer with everything in it, shrunken for a processor."""
    large = cast("DreamZeroModel", load_model("droid-14b"))
    dit = replace(
        large.dit,
        dim=256,
        ffn_dim=704,
        num_heads=2,
        num_layers=4,
        frame_seqlen=55,
        text_len=64,
        text_dim=256,
        freq_dim=64,
        hidden_size=64,
        image_dim=160,
        image_len=33,
    )
    return DreamZeroModel(dit, latent_size=(10, 22))


def configured(
    name: str,
    *,
    dtype: str | None = None,
    attention: str | None = None,
    layers: int | None = None,
) -> DreamZeroModel:
    """Makes a model to measure.

    Args:
        name: one of `CONFIGS`.
        dtype: of weights and activations; bfloat16 on a GPU and float32 elsewhere
            unless given.
        attention: see `DreamZeroConfig`; the fused kernel wherever it runs unless
            given.
        layers: how many blocks; as published unless given.

    Returns:
        The model.

    Raises:
        ValueError: for a kernel that does not run here, or sizes that no model has.
    """
    gpu = jax.default_backend() == "gpu"
    if attention == "cudnn" and not gpu:
        raise ValueError(
            f"attention 'cudnn' needs a GPU; this is {device_name()}, use 'xla'"
        )
    if dtype is None:
        dtype = "bfloat16" if gpu else "float32"
    if attention is None:
        attention = "cudnn" if gpu and dtype == "bfloat16" else "xla"
    model = (
        small_model() if name == "small" else cast("DreamZeroModel", load_model(name))
    )
    dit: DreamZeroConfig = replace(
        model.dit,
        dtype=dtype,
        attention=attention,
        num_layers=model.dit.num_layers if layers is None else layers,
    )
    return replace(model, dit=dit)


def random_weights(model: DreamZeroModel) -> Any:
    """Draws weights on the device, in the dtype of the activations.

    The blocks' a layer at a time: random bits take several times the room of what is
    made of them.

    Args:
        model: the model.

    Returns:
        Nested dict of arrays.
    """
    # Of the generators this is the fastest, to compile as well.
    return _random_weights(model.dit, jax.random.key(0, impl="rbg"))


@functools.partial(jax.jit, static_argnums=0)
def _random_weights(config: DreamZeroConfig, key: jax.Array) -> Any:
    shapes = weight_shapes(config)
    blocks = shapes.pop("blocks")
    layer = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), blocks)

    def draw(key: jax.Array, structs: Any) -> Any:
        leaves, structure = jax.tree.flatten(structs)
        ends = np.cumsum([leaf.size for leaf in leaves])
        # Small enough that no sum of products overflows, even in many layers.
        flat = 0.02 * jax.random.normal(key, (int(ends[-1]),), config.dtype)
        parts = jnp.split(flat, ends[:-1])
        return jax.tree.unflatten(
            structure,
            [x.reshape(leaf.shape) for x, leaf in zip(parts, leaves, strict=True)],
        )

    keys = jax.random.split(key, 1 + config.num_layers)
    stacked = jax.lax.map(lambda key: draw(key, layer), keys[1:])
    return {**draw(keys[0], shapes), "blocks": stacked}


def matrix_rate(dtype: str, repeats: int = 20) -> Machine:
    """Times a square matrix product, large enough to fill the device."""
    size = 16384 if jax.default_backend() == "gpu" else 1024
    keys = jax.random.split(jax.random.key(3))
    a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)
    product = jax.jit(jnp.matmul)
    seconds = median_seconds({"": lambda: product(a, b)}, repeats)[""]
    return Machine(size, 2 * size**3 / seconds)


def median_seconds(
    calls: Mapping[Any, Callable[[], Any]], repeats: int
) -> dict[Any, float]:
    """Times calls in turn, so that a busy moment of the machine is shared by all.

    Args:
        calls: by name; each is called once before, to compile it.
        repeats: timed calls of each.

    Returns:
        Median seconds by name.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    taken: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def measure(
    loop: ControlLoop, machine: Machine, repeats: int
) -> dict[str, dict[str, Any]]:
    """Measures the network call, the prefill and the control steps.

    Args:
        loop: the robots.
        machine: what it runs on.
        repeats: timed runs of each.

    Returns:
        Rows by name: seconds, model calls, arithmetic, floor, utilisation and speed-up.

    Raises:
        ValueError: if a cache did not make the calls that it stands for, or if
            something was not finite.
    """
    for calls in loop.pipelines:
        check(loop.step(calls).stats, calls)
    flops = arithmetic(loop)
    call = loop.network_call(loop.prefill())
    seconds = median_seconds({"call": call}, repeats)
    seconds |= median_seconds({"prefill": loop.prefill}, repeats)
    # These step on one session in turn, so each meets every position of the window.
    seconds |= median_seconds(
        {calls: functools.partial(loop.step, calls) for calls in loop.pipelines},
        repeats,
    )

    def row(name: Any, calls: int, prefills: int, versus: float | None) -> dict:
        total = calls * flops["call"] + prefills * flops["prefill"]
        floor = total / machine.flops_per_second
        return {
            "seconds": seconds[name],
            "model_calls": calls,
            "tflop": total / 1e12,
            "floor_seconds": floor,
            "utilisation": floor / seconds[name],
            "speedup": None if versus is None else versus / seconds[name],
        }

    rows = {
        "network call": row("call", 1, 0, None),
        "prefill": row("prefill", 0, 1, None),
    }
    for calls in loop.pipelines:
        name = "uncached" if calls == NUM_STEPS else "step_cache"
        rows[f"control step, {name}, {calls} calls"] = row(
            calls, calls, 1, seconds[NUM_STEPS]
        )
    return rows


def arithmetic(loop: ControlLoop) -> dict[str, int]:
    """Floating-point operations of a guided call and of a prefill."""
    c = loop.model.dit
    frames = slots(c, loop.session.cache)
    # A prefill has neither actions nor states; one of each is the least that a
    # configuration has, 2 tokens beside hundreds.
    observed = replace(c, num_action_per_block=1, num_state_per_block=1)
    rows = 2 * loop.robots
    return {
        "call": rows * count_flops(c, frames).call,
        "prefill": rows * count_flops(observed, frames).call,
    }


def check(stats: Stats, calls: int) -> None:
    """Makes sure of what a row is going to say of a control step.

    Raises:
        ValueError: if it made another number of calls, or if something was not finite.
    """
    made = int(stats.model_calls)
    if made != calls:
        raise ValueError(f"a control step of {calls} model calls made {made}: {stats}")
    if stats.nonfinite:
        raise ValueError(f"the random weights gave non-finite numbers: {stats}")


def peak_memory() -> int:
    """The most bytes held so far: of the GPU's memory, else of the process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats is not None and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def run(
    name: str, model: DreamZeroModel, robots: int = 1, repeats: int = 5
) -> dict[str, Any]:
    """Runs the whole benchmark.

    Args:
        name: what to call the model.
        model: from `configured`.
        robots: how many are stepped together.
        repeats: timed runs of each.

    Returns:
        What is written as JSON: ``run``, the settings and what holds for all of it, and
        ``rows``, see `measure`.

    Raises:
        ValueError: see `measure`.
    """
    machine = matrix_rate(model.dit.dtype)
    params = Params(random_weights(model), model)
    rows = measure(ControlLoop(params, robots), machine, repeats)
    weights = jax.tree.leaves(params.weights)
    return {
        "run": {
            "config": name,
            "dtype": model.dit.dtype,
            "attention": model.dit.attention,
            "layers": model.dit.num_layers,
            "parameters": sum(math.prod(x.shape) for x in weights),
            "robots": robots,
            "repeats": repeats,
            "matrix_size": machine.matrix_size,
            "matrix_tflop_per_second": machine.flops_per_second / 1e12,
            "peak_memory_bytes": peak_memory(),
        },
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="DreamZero's speed.")
    parser.add_argument("--config", choices=CONFIGS, default="small")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="bf16 on a GPU, else f32, unless given"
    )
    parser.add_argument(
        "--attention",
        choices=("xla", "cudnn"),
        help="cudnn on a GPU in bf16, else xla, unless given",
    )
    parser.add_argument("--layers", type=int, help="another number of blocks")
    parser.add_argument("--batch", type=int, default=1, help="robots stepped together")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    given = parser.parse_args(arguments)
    for option in ("batch", "repeats"):
        if getattr(given, option) < 1:
            count = getattr(given, option)
            parser.error(f"--{option} must be at least 1, got {count}")
    try:
        model = configured(
            given.config,
            dtype=None if given.dtype is None else DTYPES[given.dtype],
            attention=given.attention,
            layers=given.layers,
        )
    except ValueError as error:
        parser.error(str(error))

    result = run(given.config, model, given.batch, given.repeats)
    about = result["run"]
    print(
        f"{device_name()}, jax {jax.__version__}: {about['config']}, "
        f"{about['layers']} layers, {about['parameters']:,} parameters, "
        f"{about['dtype']}, attention {about['attention']}, {about['robots']} robots"
    )
    print(
        f"matrix rate {about['matrix_tflop_per_second']:.3f} TFLOP/s, "
        f"peak memory {about['peak_memory_bytes'] / 2**30:.2f} GiB"
    )
    print_table(
        {
            name: {key: "-" if x is None else x for key, x in row.items()}
            for name, row in result["rows"].items()
        }
    )
    if given.json:
        write_json(given.json, result)


if __name__ == "__main__":
    main()
