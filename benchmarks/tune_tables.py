"""Fits a bundled model's own tables, ``cache="bespoke"``; who wins is ``"tuned"``.

For each number of model calls a table, fitted on samples that no other benchmark looks
at, a quarter of them held out. Each goes into the model's file as soon as it is found;
what is in there for other caches and budgets stays. Broken off, a run goes on where it
was with the same ``--resume``.

    python benchmarks/tune_tables.py --params dit --write models/dit/tuned.json

With ``--levels``, the noise levels of as many plain steps instead, which a table has to
beat.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
from report import device_name
from samples import samples_of

import jax_stepcache
from jax_stepcache.paths import path_option

BUDGETS = (3, 4, 5, 6, 8)
# Another seed than that of scenes to measure on; see `tune.py`.
SEED = 1
# The tabletop's network takes ten times as long; and some of its samples change their
# mind about the target, which only their squared errors tell.
FITS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "dit": {"samples": 512, "steps": 400, "batch": 16, "pooled": 0.25},
        "tabletop": {
            "samples": 768,
            "steps": 400,
            "batch": 16,
            "pooled": {"video": 0.1, "action": 0.8},
            "learning_rate": 0.02,
        },
        # What a robot does of it counts more than what it imagines.
        "metaworld": {
            "samples": 768,
            "steps": 300,
            "batch": 16,
            "pooled": {"video": 0.1, "action": 0.8},
            "learning_rate": 0.02,
        },
        # Minutes on a busy core: its network has eight times the operations of dit's.
        "film": {
            "samples": 96,
            "steps": 80,
            "batch": 8,
            "pooled": 0.25,
            "curvature": 12,
        },
    }
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits, and writes each table into the file."""
    parser = argparse.ArgumentParser(description="A bundled model's own tables.")
    parser.add_argument("--params", default="dit", choices=sorted(FITS))
    parser.add_argument("--write", type=path_option, required=True)
    parser.add_argument("--resume", type=path_option, help="folder of unfinished fits")
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--weights", help="other than the bundled ones")
    parser.add_argument("--levels", action="store_true", help="noise levels alone")
    given = parser.parse_args(arguments)
    params = jax_stepcache.load_params(given.weights or given.params)
    settings = dict(FITS[given.params])
    count = settings.pop("samples")
    print(f"{device_name()}: {params.model.name}, {count} samples", flush=True)
    samples = samples_of(params, count, jax.random.key(SEED))
    for calls in given.budgets:
        kind = "levels-" if given.levels else ""
        if given.levels:  # So few numbers are found soon.
            settings["steps"] = 160
        name = f"{given.params}-{kind}{calls}.npz"
        fit = {
            "curvature": 64,
            **settings,
            "seconds": None,
            "patience": 4,
            "resume": given.resume and given.resume / name,
            "progress": lambda looked: print(looked, flush=True),
        }
        found = jax_stepcache.calibrate(
            params,
            cache="none" if given.levels else "bespoke",
            target={"model_calls": calls},
            samples=samples,
            key=jax.random.key(SEED),
            fit=fit,
        )
        print(found, flush=True)
        jax_stepcache.save_settings(given.write, found)


if __name__ == "__main__":
    main()
