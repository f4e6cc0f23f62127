"""Meta-World in closed loop: success of each way to sample, over the same episodes.

Uncached, StepCache as it was published, as many plain steps as four calls, and the
settings that were found for four calls. An episode's table and noise are those of its
number, so every way plays the same ones. Episodes are played in parts, in several
processes, and written after each: the same command goes on where it was stopped.

    python benchmarks/meta_world.py --json benchmarks/results/metaworld.json
    python benchmarks/meta_world.py --json benchmarks/results/metaworld.json --latency

Called so, and not as the simulator's package, which it would hide.

With ``--latency``, on a quiet machine, what a control step of one robot takes.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache.measure.compare import Contender, policy_of
from jax_stepcache.models.dreamzero import LatentPipeline
from jax_stepcache.models.metaworld import NAMES, rollout
from jax_stepcache.models.worlds.policy import WorldPolicy
from jax_stepcache.paths import path_option

# Options of `jax_stepcache.sample`, by way.
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "uncached": {},
        "step_cache": {"cache": "step_cache"},
        "plain-4": {"num_inference_steps": 4},
        "tuned-4": {"cache": "tuned", "budget": 4},
        "bespoke-4": {"cache": "bespoke", "budget": 4},
    }
)
_KEY = 7
_WARM, _TIMED = 4, 40  # control steps before the clock runs, and while it does
Row = dict[str, Any]


def part(source: str, way: str, first: int, episodes: int) -> Row:
    """Plays some episodes, in a process of its own.

    Args:
        source: see `jax_stepcache.load_params`.
        way: one of `WAYS`.
        first: the first episode's number.
        episodes: how many.

    Returns:
        Which succeeded, as a text of 0 and 1; how many actions those that did took; and
        what was asked of the network.
    """
    params = jax_stepcache.load_params(source)
    policy, options = policy_of(params, Contender(way, WAYS[way]))
    begun = time.perf_counter()
    outcome = rollout(
        params, policy, jax.random.key(_KEY), first=first, episodes=episodes, **options
    )
    return {
        "success": "".join("01"[int(x)] for x in outcome.success),
        "actions": int(outcome.steps[outcome.success].sum()),
        "calls": float(outcome.model_calls.mean()),
        "seconds": time.perf_counter() - begun,
    }


def mark(params: jax_stepcache.Params, way: str) -> str:
    """What tells weights and settings from those that other parts were played with."""
    policy, options = policy_of(params, Contender(way, WAYS[way]))
    told = hashlib.sha256(repr((jax.tree.structure(policy), sorted(options))).encode())
    for leaf in jax.tree.leaves((params.weights, policy, options)):
        told.update(np.asarray(leaf).tobytes())
    return told.hexdigest()[:16]


def latency(params: jax_stepcache.Params, way: str) -> float:
    """Milliseconds of one robot's control step, the median."""
    policy, options = policy_of(params, Contender(way, WAYS[way]))
    brain = WorldPolicy(LatentPipeline(params), cache=policy, **options)
    ((message,), *_) = brain.examples(1)
    session, seconds = brain.open(), []
    for _ in range(_WARM + _TIMED):
        begun = time.perf_counter()
        (reply,) = brain.step_many([session], [message], [{}])
        seconds.append(time.perf_counter() - begun)
        session = reply.session
    return 1e3 * float(np.median(seconds[_WARM:]))


def summed(way: str, row: Row) -> Row:
    """A row with its figures, of the parts that follow one another from the first."""
    said = played(row)
    if not len(said):
        return row
    parts = [row["parts"][begin] for begin in sorted(row["parts"], key=int)]
    tasks = np.arange(len(said)) % len(NAMES)
    return {
        **row,
        "way": way,
        "episodes": len(said),
        "success": float(said.mean()),
        "success_error": _error(said),
        "tasks": {
            name: {
                "success": float(said[tasks == i].mean()),
                "success_error": _error(said[tasks == i]),
            }
            for i, name in enumerate(NAMES)
        },
        "model_calls": float(np.mean([one["calls"] for one in parts])),
    }


def played(row: Row) -> np.ndarray:
    """Which episodes succeeded, bool[episodes], as far as there is no gap."""
    text = ""
    while (one := row["parts"].get(str(len(text)))) is not None:
        text += one["success"]
    return np.array([x == "1" for x in text], bool)


def behind(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Rows with how far each is from the uncached one, over episodes that both played.

    Args:
        rows: by way.

    Returns:
        The rows, ``behind`` and ``behind_error`` added: the difference of the shares
        and its standard error, of pairs.
    """
    found = {way: summed(way, row) for way, row in rows.items()}
    whole = found.get("uncached")
    for way, row in found.items():
        if whole is None or way == "uncached":
            continue
        n = min(len(played(whole)), len(played(row)))
        if n:
            away = played(whole)[:n].astype(float) - played(row)[:n]
            row["behind"], row["behind_error"] = float(away.mean()), _error(away)
    return found


def _error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(values.size))


def _play(given: argparse.Namespace, rows: dict[str, Row]) -> None:
    """Plays the parts that are missing, all ways' first parts first."""
    wanted = [
        (way, begin)
        for begin in range(0, given.episodes, given.part)
        for way in given.ways
        if str(begin) not in rows[way]["parts"]
    ]
    # Anew and not forked: neither XLA's threads nor a drawing context can be shared.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, context) as pool:
        running = {
            pool.submit(part, given.params, way, begin, given.part): (way, begin)
            for way, begin in wanted
        }
        try:
            for done in as_completed(running):
                way, begin = running[done]
                one = rows[way]["parts"][str(begin)] = done.result()
                write_json(given.json, behind(rows))
                share = one["success"].count("1") / given.part
                print(way, begin, f"{share:.3f}, {one['seconds']:.0f} s", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays what is not in the file yet, or times control steps, and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=path_option, required=True)
    parser.add_argument("--params", default="metaworld", help="bundled, or a file")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--episodes", type=int, default=400, help="of each way")
    parser.add_argument("--part", type=int, default=100, help="episodes at a time")
    parser.add_argument("--processes", type=int, default=2, help="side by side")
    parser.add_argument("--latency", action="store_true", help="time control steps")
    given = parser.parse_args(arguments)
    if given.part % len(NAMES) or given.episodes % given.part or given.episodes < 1:
        parser.error(f"--part must be a multiple of {len(NAMES)}, --episodes of --part")
    params = jax_stepcache.load_params(given.params)
    old = json.loads(given.json.read_text()) if given.json.exists() else {}
    rows = {way: row for way, row in old.items() if way in WAYS}
    for way in given.ways:
        own = mark(params, way)
        if rows.get(way, {}).get("mark") != own:
            rows[way] = {"mark": own, "parts": {}}
    if given.latency:
        for way in given.ways:
            rows[way]["latency_ms"] = latency(params, way)
            write_json(given.json, behind(rows))
    else:
        _play(given, rows)
    print(f"{device_name()}: metaworld, closed loop")
    shown = ("episodes", "success", "success_error", "behind", "behind_error")
    shown += ("model_calls", "latency_ms")
    found = behind(rows)
    print_table({k: {name: x.get(name) for name in shown} for k, x in found.items()})


if __name__ == "__main__":
    main()
