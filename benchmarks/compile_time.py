"""How compile time grows with the number of layers: it should not.

DreamZero's blocks are one scan, so the program of 40 layers is that of 4 with other
shapes. Timed are one guided call of the network and one whole denoise with StepCache,
of the same width, from the Python function to the executable. Only shapes go in: there
are no weights. The exit status is 1 if 40 layers take more than 1.5 times as long.

    python benchmarks/compile_time.py --json benchmarks/results/compile_time.json
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from dreamzero import NUM_STEPS, small_model
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache import Params
from jax_stepcache.models.dreamzero import (
    DreamZeroCondition,
    DreamZeroModel,
    weight_shapes,
)
from jax_stepcache.models.dreamzero.session.session import session_struct
from jax_stepcache.paths import path_option

LAYERS = (4, 40)
MAX_RATIO = 1.5
DIM, FFN_DIM = 128, 352


class Program(NamedTuple):
    """A function to compile, and the shapes that it is compiled for.

    Attributes:
        function: pure.
        shapes: its arguments, trees of `jax.ShapeDtypeStruct`.
    """

    function: Callable[..., Any]
    shapes: tuple[Any, ...]


def model_of(layers: int) -> DreamZeroModel:
    """DROID's transformer, narrow, with so many layers."""
    small = small_model()
    dit = replace(
        small.dit, dim=DIM, ffn_dim=FFN_DIM, num_layers=layers, dtype="float32"
    )
    return replace(small, dit=dit)


def programs_of(model: DreamZeroModel) -> dict[str, Program]:
    """What is compiled, by name, for one robot under guidance."""
    c = model.dit
    struct = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    session = session_struct(model.size, 1, guided=True)
    condition = DreamZeroCondition(
        session.context,
        session.cache,
        struct((2, c.num_state_per_block, c.max_state_dim)),
        struct((2, c.y_dim, c.num_frame_per_block, *model.latent_size)),
    )
    weights = weight_shapes(c)
    rows = model.noise_struct(2)

    def denoise(weights: Any, noise: Any, condition: Any) -> jax_stepcache.SampleResult:
        return jax_stepcache.sample(
            Params(weights, model),
            noise=noise,
            condition=condition,
            cache="step_cache",
            num_inference_steps=NUM_STEPS,
        )

    return {
        "network call": Program(
            model.denoise,
            (weights, rows, {name: struct((2,)) for name in rows}, condition),
        ),
        f"denoise, {NUM_STEPS} steps": Program(
            denoise, (weights, model.noise_struct(1), condition)
        ),
    }


def compile_seconds(program: Program) -> tuple[float, float]:
    """Compiles afresh.

    Returns:
        Seconds to trace and lower, and seconds to compile what came of it.
    """
    jax.clear_caches()
    start = time.perf_counter()
    lowered = jax.jit(program.function).lower(*program.shapes)
    middle = time.perf_counter()
    lowered.compile()
    return middle - start, time.perf_counter() - middle


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Times the programs of few and of many layers in turn.

    Args:
        repeats: fresh compiles of each.

    Returns:
        Rows by program: median seconds, and the ratio of many layers to few.
    """
    programs = {layers: programs_of(model_of(layers)) for layers in LAYERS}
    rows = {}
    for name in programs[LAYERS[0]]:
        taken: dict[int, list[tuple[float, float]]] = {layers: [] for layers in LAYERS}
        for _ in range(repeats):
            for layers in LAYERS:
                taken[layers].append(compile_seconds(programs[layers][name]))
        row, totals = {}, []
        for layers in LAYERS:
            lower, compiling = zip(*taken[layers], strict=True)
            row[f"lower_seconds_{layers}"] = statistics.median(lower)
            row[f"compile_seconds_{layers}"] = statistics.median(compiling)
            totals.append(statistics.median(map(sum, taken[layers])))
        rows[name] = {**row, "ratio": totals[1] / totals[0]}
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark, prints the table and writes the JSON.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Compile time and layers.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=3, help="compiles of each")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {given.repeats}")

    # A compile that is found on disk is none.
    jax.config.update("jax_enable_compilation_cache", False)
    rows = measure(given.repeats)
    few, many = LAYERS
    print(f"{device_name()}, jax {jax.__version__}: {few} and {many} layers of {DIM}")
    print_table(rows)
    if given.json:
        write_json(given.json, rows)
    worst = max(row["ratio"] for row in rows.values())
    print(f"{many} layers take {worst:.2f} times as long as {few}; at most {MAX_RATIO}")
    return int(worst > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
