"""The best sample that few calls can give: schedules, solvers, caches and tables.

For each number of network calls: as many plain steps; the best of several solvers and
published schedules, chosen on scenes of its own; noise levels that were optimised for
the solver; the searched schedule and forecasts; and the fitted table. All of these make
known calls, so each is one table and runs the same program; caches that decide by the
sample are in ``frontier.py``, on scenes drawn alike.

    python benchmarks/few_calls.py --json benchmarks/results/few_calls.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from report import device_name, print_table, write_json
from scenes import NUM_STEPS

import jax_stepcache
from jax_stepcache import as_table, mask_of_steps, static_schedule
from jax_stepcache.measure.metrics import psnr_of_each, rmse, ssim
from jax_stepcache.network.inputs import schedules_of
from jax_stepcache.paths import path_option
from jax_stepcache.solvers.named_schedules import get_schedule

MODELS = ("dit", "tabletop")
CALLS = (2, 3, 4, 5, 6, 8, 12)
FINE_STEPS = 256
SOLVERS = ("unipc", "dpm++_2m", "dpm++_3m", "res", "ipndm")
SCHEDULES = ("linear", "karras", "beta", "ays_sdxl", "ays_svd")
# Scenes that solver and schedule are chosen on; `tune_tables.py` has seed 1.
_SEED, _CHOICE = 0, 2
_BATCH = 32


class Way(NamedTuple):
    """A row: what it is called, by whom, and its tables."""

    kind: str
    what: str
    tables: Any


class Drawn(NamedTuple):
    """Scenes, in batches, and what they should come near to.

    Attributes:
        params: the weights and their model.
        batches: observations and keys.
        usual: decoded samples of the usual steps.
        fine: likewise of many.
    """

    params: jax_stepcache.Params
    batches: list[tuple[Any, jax.Array]]
    usual: Any = None
    fine: Any = None

    def sampled(self, **options: Any) -> Any:
        """Samples all, decoded: [scenes, ...] arrays."""
        each = [
            self.params.model.decode(
                jax_stepcache.sample(
                    self.params, observation=shown, key=keys, **options
                ).sample
            )
            for shown, keys in self.batches
        ]
        return jax.device_get(jax.tree.map(lambda *x: jnp.concatenate(x), *each))


def drawn(
    params: jax_stepcache.Params, seed: int, count: int, fine: bool = True
) -> Drawn:
    """Draws scenes and samples what they should come near to."""
    worlds, noise = jax.random.split(jax.random.key(seed))
    keys = jax.random.split(noise, count)
    batches = []
    for i, world in enumerate(jax.random.split(worlds, -(-count // _BATCH))):
        some = keys[i * _BATCH : (i + 1) * _BATCH]
        batches.append((params.model.example(world, len(some)), some))
    scenes = Drawn(params, batches)
    scenes = scenes._replace(usual=scenes.sampled())
    if fine:
        many = scenes.sampled(num_inference_steps=FINE_STEPS)
        scenes = scenes._replace(fine=many)
    return scenes


def plain(params: jax_stepcache.Params, solver: str, name: str | None, n: int) -> Any:
    """Tables of as many plain steps; by the usual schedule where none is named."""
    model = params.model
    if name is None:
        usual = schedules_of(model.outputs, n, model.defaults.shift, None)
    else:
        one = get_schedule(name, n)
        usual = one if model.outputs is None else dict.fromkeys(model.outputs, one)
    return as_table(solver, usual)


def best_plain(scenes: Drawn, n: int) -> Way:
    """The best of several solvers and schedules, on scenes of their own."""
    found = {}
    for name in (None, *SCHEDULES):
        for solver in SOLVERS:
            tables = plain(scenes.params, solver, name, n)
            said = _seen(scenes.usual, scenes.sampled(schedule=tables))
            found[solver, name or "usual"] = float(np.mean(said)), tables
    (solver, name), (_, tables) = max(found.items(), key=lambda one: one[1][0])
    return Way("best plain", f"{solver}, {name}", tables)


def ways(scenes: Drawn, n: int) -> Iterator[Way]:
    """All that make so many calls; of those that were found what there is."""
    params, model = scenes.params, scenes.params.model
    yield Way("plain", "unipc", plain(params, "unipc", None, n))
    yield best_plain(scenes, n)
    levels = _known(model.optimised, n)
    if levels is not None:
        yield Way("optimised", levels.solver, as_table(levels.solver, levels.schedule))
    tuned = _known(model.tuned, n)
    if tuned is not None:
        mask = mask_of_steps(tuned.steps, tuned.num_steps)
        usual = schedules_of(model.outputs, NUM_STEPS, model.defaults.shift, None)
        policy = static_schedule(mask, tuned.forecast)
        yield Way("tuned", "schedule", as_table("unipc", usual, policy))
    table = _known(model.bespoke, n)
    if table is not None:
        yield Way("bespoke", "table", table.tables)


def _known(find: Callable[[int], Any], n: int) -> Any:
    try:
        return find(n)
    except ValueError:
        return None


def measured(scenes: Drawn, way: Way) -> dict[str, Any]:
    """How near a way's samples are; how robots do by it is in ``episodes.py``."""
    made = scenes.sampled(schedule=way.tables)
    seen = _seen_name(made)
    row: dict[str, Any] = {"kind": way.kind, "what": way.what}
    for against, suffix in ((scenes.usual, ""), (scenes.fine, f"_{FINE_STEPS}")):
        each = _seen(against, made)
        row[f"psnr{suffix}"] = float(each.mean())
        row[f"psnr_p5{suffix}"] = float(np.quantile(each, 0.05))
        a, b = (
            jnp.asarray(x[seen].reshape(-1, *x[seen].shape[-3:]))
            for x in (against, made)
        )
        row[f"ssim{suffix}"] = float(ssim(a, b))
        if "action" in made:
            off = rmse(jnp.asarray(against["action"]), jnp.asarray(made["action"]))
            row[f"action_rmse{suffix}"] = float(off)
    return row


def _seen_name(made: Any) -> str:
    return next(name for name in ("video", "image") if name in made)


def _seen(against: Any, made: Any) -> np.ndarray:
    """PSNR of each scene's picture or video, dB; of an equal one 120."""
    name = _seen_name(made)
    each = psnr_of_each(jnp.asarray(against[name]), jnp.asarray(made[name]))
    return np.minimum(np.asarray(each), 120.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and writes after each number of calls; other rows stay."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--params", nargs="*", default=MODELS)
    parser.add_argument("--calls", type=int, nargs="*", default=CALLS)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--choice", type=int, default=64, help="scenes to choose on")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    if given.json and given.json.exists():
        again = set(given.calls)
        names = {jax_stepcache.load_params(one).model.name for one in given.params}
        rows = [
            row
            for row in json.loads(given.json.read_text())
            if row["model"] not in names or row["calls"] not in again
        ]
    for source in given.params:
        params = jax_stepcache.load_params(source)
        scenes = drawn(params, _SEED, given.scenes)
        choice = drawn(params, _CHOICE, given.choice, fine=False)
        about = {"model": params.model.name}
        for n in given.calls:
            made = list(ways(choice, n))
            found = [{**about, "calls": n, **measured(scenes, way)} for way in made]
            rows = sorted([*rows, *found], key=lambda row: (row["model"], row["calls"]))
            if given.json:
                write_json(given.json, rows)
            print(f"{device_name()}: {params.model.name}, {n} calls", flush=True)
            figures = dict.fromkeys(name for row in found for name in row)
            print_table(
                {
                    row["kind"]: _shown({name: row.get(name) for name in figures})
                    for row in found
                }
            )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {k: x for k, x in row.items() if k not in ("model", "calls", "kind")}


if __name__ == "__main__":
    main()
