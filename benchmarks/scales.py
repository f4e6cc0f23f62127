"""A table at a guidance scale that none was found for: between two, on the line.

Tables of ``dit`` are fitted at some scales; then new noise is sampled at scales between
them, by what lies between the tables, by the table of the usual scale, by one that was
fitted for this very scale, and by as many plain steps.

    python benchmarks/scales.py --json benchmarks/results/scales.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import jax
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.calibration.samples import make_samples
from jax_stepcache.measure.metrics import psnr
from jax_stepcache.paths import path_option

KNOTS, BETWEEN = (1.5, 4.0), 2.5
# Other seeds than those of scenes to measure on.
_FIT_SEED, _SEED = 1, 0


def fitted(
    params: jax_stepcache.Params, scale: float, calls: int, samples: int, steps: int
) -> jax_stepcache.Calibration:
    """The table of a scale."""
    return jax_stepcache.calibrate(
        params,
        cache="bespoke",
        target={"model_calls": calls},
        samples=samples,
        key=jax.random.key(_FIT_SEED),
        guidance_scale=scale,
        fit={"steps": steps, "seconds": None},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--samples", type=int, default=256, help="to fit on")
    parser.add_argument("--steps", type=int, default=200, help="of each fit")
    parser.add_argument("--scenes", type=int, default=256)
    given = parser.parse_args(arguments)
    params = jax_stepcache.load_params("dit")
    effort = given.calls, given.samples, given.steps
    found = {}
    for scale in (*KNOTS, BETWEEN):
        found[scale] = fitted(params, scale, *effort)
        print(f"{device_name()}: {scale}\n{found[scale]}", flush=True)
    family = jax_stepcache.family_of(*(found[scale] for scale in KNOTS))
    drawn = make_samples(params, None, given.scenes, jax.random.key(_SEED), {})
    rows: dict[str, Any] = {}
    for scale in sorted(found):
        tables = {
            "between": family,
            "of the usual scale": found[KNOTS[0]].cache_config["table"],
            "fitted here": found[scale].cache_config["table"],
        }
        options: dict[str, Any] = {"guidance_scale": scale, **drawn.batch}
        decode = params.model.decode
        wanted = decode(jax_stepcache.sample(params, **options).sample)["image"]

        def decibels(
            wanted: Any = wanted, options: Any = options, **more: Any
        ) -> float:
            end = jax_stepcache.sample(params, **options, **more).sample
            return float(psnr(wanted, params.model.decode(end)["image"]))

        row = {name: decibels(schedule=one) for name, one in tables.items()}
        row["plain"] = decibels(num_inference_steps=given.calls)
        rows[f"{scale:g}"] = row
    print_table(rows)
    if given.json:
        write_json(given.json, {"calls": given.calls, "knots": KNOTS, "scales": rows})


if __name__ == "__main__":
    main()
