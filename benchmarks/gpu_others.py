"""What XLA makes of FLUX's and pi0's samplers for a GPU, without one.

See `gpu_program.py`. FLUX.1 dev at 1024 x 1024, one picture, 50 and 28 steps; pi0 and
pi0.5 for one robot, ten steps, pictures and prompt read in the same program. Each
without a cache and with those that look inside. How many calls a cache leaves hangs on
its threshold: here half of the steps, so a floor says what a skipped step costs and not
what is skipped.

    python benchmarks/gpu_others.py --json benchmarks/results/gpu_others.json
"""

# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from ahead.device import PLUGIN, compiled, has_plugin, mesh_of, placed, prepare

from jax_stepcache.paths import path_option

STEPS = {"flux.1-dev": (50, 28), "pi0-base": (10,), "pi05-droid": (10,)}
CACHES = {
    "flux.1-dev": ("none", "cache_dit", "tea_cache", "mag_cache"),
    "pi0-base": ("none", "step_cache", "cache_dit"),
    "pi05-droid": ("none", "step_cache", "cache_dit"),
}
LAYERS = ("apart", "stacked")
# What models call the weights of their blocks.
_LISTS = ("blocks", "double", "single")


def main(arguments: list[str] | None = None) -> int:
    """Compiles, prints and writes."""
    given = parsed(arguments)
    if not has_plugin():
        print(f"{PLUGIN} is not installed: see make gpu-program", file=sys.stderr)
        return 1
    prepare()
    compile_rows(given)
    return 0


def compile_rows(given: argparse.Namespace, only: Sequence[str] = ()) -> int:
    """Compiles, prints and writes what is asked for.

    Args:
        given: as the command line has it.
        only: words that names must have.

    Returns:
        How many there were.
    """
    from report import write_json

    rows: dict[str, Any] = {}
    count = 0
    if given.json and given.json.exists():
        rows = json.loads(given.json.read_text())["programs"]
    for steps in given.steps or STEPS[given.model]:
        for cache in given.caches or CACHES[given.model]:
            name = (
                f"{given.model} {steps} steps {cache} {given.layers} on 1 {given.gpu}"
            )
            if not all(word in name for word in only):
                continue
            start = time.perf_counter()
            rows[name] = _row(given, steps, cache)
            floor, peak = rows[name]["floor_ms"], rows[name]["memory_gib"]["peak"]
            took = time.perf_counter() - start
            print(f"{name}: {floor:.0f} ms, {peak:.1f} GiB ({took:.0f} s)", flush=True)
            if given.json:  # Each time, for all of them take a while.
                write_json(given.json, {"programs": rows})
            count += 1
    return count


def _row(given: Any, steps: int, cache: str) -> dict[str, Any]:
    from ahead.reading import read

    program = _lowered(given, steps, cache)
    calls = float(steps if cache == "none" else steps // 2)
    done = compiled(program.function, *program.arguments)
    figures = read(program, done, given.gpu, calls)
    return {"steps": steps, "calls": calls, "layers": given.layers, **figures}


def _lowered(given: Any, steps: int, cache: str) -> Any:
    import jax
    from ahead.lowered import Lowered

    from jax_stepcache import Params, load_model
    from jax_stepcache.checkpoints.layers import taken_apart
    from jax_stepcache.network.offered import offered
    from jax_stepcache.options import options_of, resolve
    from jax_stepcache.sampling import _run

    model: Any = load_model(given.model)
    mesh = mesh_of(given.gpu, (1,), ("devices",))
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"),
        offered(model, "weights_struct")(model),
    )
    lists: list[Any] = []

    def apart(tree: Any, name: str = "") -> Any:
        if name in _LISTS:
            lists.append(tree)
            return taken_apart(tree) if given.layers == "apart" else tree
        if not isinstance(tree, dict):
            return tree
        return {each: apart(inside, each) for each, inside in tree.items()}

    weights = placed(mesh, apart(weights))
    shown = jax.eval_shape(lambda k: model.example(k, 1), jax.random.key(0))
    # True guidance is left out.
    shown = {n: x for n, x in shown.items() if not n.startswith("negative")}
    options: dict[str, Any] = {
        "observation": shown,
        "noise": model.noise_struct(1),
        "num_inference_steps": steps,
        "cache": None if cache == "none" else cache,
    }
    generation = placed(mesh, resolve(Params(weights, model), options_of(**options)))
    one = {tuple(x.shape[1:]) for x in jax.tree.leaves(lists)}
    return Lowered(
        _run,
        ("batch", generation),
        model.num_blocks,
        cache != "none",
        frozenset(tuple(n for n in shape if n != 1) for shape in one),
        frozenset(),
        None,
        {},
        1,
    )


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="flux.1-dev", choices=STEPS)
    parser.add_argument("--gpu", default="h100", choices=("h100", "h200"))
    parser.add_argument("--steps", type=int, nargs="+", help="default: the release's")
    parser.add_argument("--caches", nargs="+", help="default: several")
    parser.add_argument("--layers", choices=LAYERS, default="apart")
    parser.add_argument("--json", type=path_option, help="file for the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
