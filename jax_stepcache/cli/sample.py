"""``jax-stepcache sample``: predict once, and compare."""

from __future__ import annotations

import argparse
import math

import jax

from jax_stepcache.cli.drawings import save_comparison
from jax_stepcache.cli.options import (
    cache_options,
    solver_options,
)
from jax_stepcache.loop.result import strip
from jax_stepcache.measure.compare import Comparison, compare, contenders
from jax_stepcache.measure.summary import summary
from jax_stepcache.measure.table import table
from jax_stepcache.network.registry import load_params
from jax_stepcache.sampling import sample


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    if parsed.batch < 1:
        raise ValueError(f"--batch is {parsed.batch}; it must be at least 1")
    params = load_params(parsed.params)
    world, noise = jax.random.split(jax.random.key(parsed.seed))
    observation = params.model.example(world, parsed.batch)
    common = {"observation": observation, "key": noise}
    solver, cache = solver_options(parsed), cache_options(parsed)
    if parsed.guidance_interval is not None:
        solver["guidance_interval"] = parsed.guidance_interval
    print(params)
    if parsed.compare:
        rows = contenders(params, parsed.cache, solver, cache, **common)
        comparisons = compare(params, rows, **common)
        print(comparison_table(comparisons))
        if "video" not in params.model.decode(comparisons[0].result.sample):
            # Pictures are of a world and what is done in it.
            print(f"no picture: {params.model.name} makes no video")
            return
        path = parsed.out / "sample.png"
        save_comparison(path, comparisons, params.model, observation)
        print(f"pictures: {path}")
        return
    result = sample(
        params,
        cache=parsed.cache,
        progress=parsed.progress,
        **common,
        **solver,
        **cache,
    )
    print(result)
    if parsed.summary:
        print(f"\n{summary(result, names=[parsed.cache])}")


def comparison_table(rows: list[Comparison]) -> str:
    """The comparison as text; quality is against the first row."""
    header = ["", "model calls", "time", "speed-up", "PSNR", "action RMSE"]
    cells = [
        [
            row.name,
            str(int(row.result.stats.model_calls)),
            f"{row.seconds * 1e3:.1f} ms",
            f"{row.speedup:.2f}x",
            "-" if i == 0 else f"{row.psnr:.1f} dB",
            "-" if i == 0 or math.isnan(row.action_rmse) else f"{row.action_rmse:.4f}",
        ]
        for i, row in enumerate(rows)
    ]
    strips = [f"{row.name:<20}{strip(row.result.stats.computed)}" for row in rows]
    scenes = len(jax.tree.leaves(rows[0].result.sample)[0])
    seen = f"({scenes} scene{'s' if scenes > 1 else ''}, against {rows[0].name})"
    return "\n".join([table(header, cells), seen, "", *strips])
