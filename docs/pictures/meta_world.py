"""Draws robots of Meta-World by each way to sample, seen beside imagined.

Needs the extra ``metaworld``.

    python docs/pictures/meta_world.py

Rows are ways, all of them in the same episodes; columns are moments of two episodes.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jax_stepcache
from jax_stepcache.measure.compare import Contender, policy_of
from jax_stepcache.models.metaworld import Rollout, film, rollout

PATH = Path(__file__).with_suffix(".png")
WAYS: dict[str, dict[str, Any]] = {
    "uncached,\n16 calls": {},
    "StepCache as\npublished": {"cache": "step_cache"},
    "4 plain steps": {"num_inference_steps": 4},
    "tuned: a table\nof 4 calls": {"cache": "bespoke", "budget": 4},
}
_TASKS = ("drawer-open", "push")
_MOMENTS = 3
_KEY = 7


def acted(params: jax_stepcache.Params, options: dict[str, Any]) -> Rollout:
    """Two episodes, one of each task, by one way."""
    policy, rest = policy_of(params, Contender("", options))
    return rollout(
        params, policy, jax.random.key(_KEY), episodes=2, tasks=_TASKS, **rest
    )


def drawn(params: jax_stepcache.Params) -> Figure:
    """The grid of all ways; moments are spread over what each episode lasted."""
    figure = Figure(figsize=(9, 4.4), layout="constrained", dpi=100)
    axes = figure.subplots(len(WAYS), _MOMENTS * len(_TASKS))
    for line, (name, options) in zip(axes, WAYS.items(), strict=True):
        outcome = acted(params, options)
        for i, task in enumerate(_TASKS):
            pictures = film(outcome, i)[: len(outcome.seen[i])]
            places = np.linspace(2, len(pictures) - 1, _MOMENTS).round().astype(int)
            own = line[_MOMENTS * i : _MOMENTS * (i + 1)]
            for axis, place in zip(own, places, strict=True):
                axis.imshow(pictures[place], interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.axvline(63.5, color="white", linewidth=1)
            done = "done" if outcome.success[i] else "not done"
            own[-1].set_xlabel(f"{done}, {4 * (len(pictures) - 1)} actions", fontsize=7)
            if name == next(iter(WAYS)):
                own[1].set_title(f"{task}: seen | imagined", fontsize=9)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def main() -> None:
    """Draws the grid."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--params", default="metaworld", help="bundled, or a file")
    parser.add_argument("--out", type=Path, default=PATH)
    given = parser.parse_args()
    partial = given.out.with_name(f".{given.out.name}.tmp")
    figure = drawn(jax_stepcache.load_params(given.params))
    figure.savefig(partial, format="png")
    partial.replace(given.out)
    print(given.out)


if __name__ == "__main__":
    main()
