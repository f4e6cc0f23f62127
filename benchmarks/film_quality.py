"""Whether the bundled model's films show what was asked for, cached and not.

A reader finds for each film the nearest of all that the world could have made: its
colour, shape and direction, and how near it is. As many plain steps are what a cache
has to beat.

    python benchmarks/film_quality.py --json benchmarks/results/film_quality.json
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.models.film.quality import (
    asked_in_turn,
    judge,
    sampled,
)
from jax_stepcache.paths import path_option

# Not that of the noise which anything was trained, tuned or measured on.
SEED = 5
# A few at a time share a core's cache; each decides for itself.
BATCH = 40
WAYS: dict[str, dict[str, Any]] = {
    "16 steps, no cache": {},
    "tuned, 8 calls": {"cache": "tuned", "budget": 8},
    "8 plain steps": {"num_inference_steps": 8},
    "tuned, 6 calls": {"cache": "tuned", "budget": 6},
    "6 plain steps": {"num_inference_steps": 6},
    "tuned, 4 calls": {"cache": "tuned", "budget": 4},
    "4 plain steps": {"num_inference_steps": 4},
    "step_cache": {"cache": "step_cache", "decide": "sample"},
    "tea_cache": {"cache": "tea_cache", "decide": "sample"},
    "cache_dit": {"cache": "cache_dit", "decide": "sample"},
}


def main() -> None:
    """Samples, reads, prints and writes the JSON."""
    parser = argparse.ArgumentParser(description="What the bundled films show.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--films", type=int, default=240)
    given = parser.parse_args()
    params = jax_stepcache.load_params("film")
    asked = asked_in_turn(given.films)
    rows: dict[str, dict[str, Any]] = {}
    exact: Any = None
    for name, options in WAYS.items():
        films = np.concatenate(
            [
                sampled(
                    params.weights,
                    params.model,
                    asked[i : i + BATCH],
                    SEED + i,
                    **options,
                )
                for i in range(0, len(asked), BATCH)
            ]
        )
        exact = films if exact is None else exact
        error = np.square(films - exact).mean(axis=(1, 2, 3, 4))
        near = None if films is exact else float(np.mean(-10 * np.log10(error)))
        rows[name] = {**judge(films, asked)._asdict(), "to_uncached": near}
        print(name, rows[name], flush=True)
    print(device_name())
    print_table(rows)
    if given.json:
        write_json(given.json, rows)


if __name__ == "__main__":
    main()
