"""Meta-World in closed loop: success of each way to sample, over the same episodes.

Uncached, StepCache as it was published, as many plain steps as four calls, the schedule
that was searched for four calls, and the table, which ``cache="tuned"`` takes where it
won; that one through a policy server, too, asked by openpi's client. An episode's table
and noise are those of its number, so every way plays the same ones. Episodes are played
in parts, in several processes, and written after each: the same command goes on where
it was stopped.

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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from report import device_name, print_table, write_json

import jax_stepcache
from jax_stepcache import mask_of_steps, static_schedule
from jax_stepcache.measure.compare import Contender, policy_of
from jax_stepcache.models import metaworld
from jax_stepcache.models.dreamzero import LatentPipeline
from jax_stepcache.models.metaworld import NAMES, rollout, served_rollout
from jax_stepcache.models.metaworld.rollout import DEADLINE, Brain
from jax_stepcache.models.metaworld.sizes import FRAMES
from jax_stepcache.models.worlds.message import IMAGE, PROMPT, STATE
from jax_stepcache.models.worlds.policy import WorldPolicy
from jax_stepcache.models.worlds.remote import RemotePolicy
from jax_stepcache.paths import path_option
from jax_stepcache.serving import policy_server

# Options of `jax_stepcache.sample`, by way.
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "uncached": {},
        "step_cache": {"cache": "step_cache"},
        "plain-4": {"num_inference_steps": 4},
        "schedule-4": {"cache": "tuned", "budget": 4},
        "bespoke-4": {"cache": "bespoke", "budget": 4},
        "served-4": {"cache": "bespoke", "budget": 4},
    }
)
_SERVED = "served-4"
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
    policy, options = sampler(params, way)
    key, which = jax.random.key(_KEY), {"first": first, "episodes": episodes}
    begun = time.perf_counter()
    if way == _SERVED:
        brain = WorldPolicy(LatentPipeline(params), cache=policy, **options)
        with policy_server(brain, slots=8, deadline=600.0).background() as url:
            outcome = served_rollout(url, key, **which)
    else:
        outcome = rollout(params, policy, key, **which, **options)
    return {
        "success": "".join("01"[int(x)] for x in outcome.success),
        "actions": int(outcome.steps[outcome.success].sum()),
        "calls": float(outcome.model_calls.mean()),
        "seconds": time.perf_counter() - begun,
    }


def sampler(params: jax_stepcache.Params, way: str) -> tuple[Any, dict[str, Any]]:
    """A way's policy, and the other options of `sample`."""
    if way == "schedule-4":  # whether or not the table won
        found = params.model.tuned(4)
        mask = mask_of_steps(found.steps, found.num_steps)
        return static_schedule(mask, found.forecast), {}
    return policy_of(params, Contender(way, WAYS[way]))


def mark(params: jax_stepcache.Params, way: str) -> str:
    """What tells weights, settings and world from those of parts played before."""
    policy, options = sampler(params, way)
    told = hashlib.sha256(repr((jax.tree.structure(policy), sorted(options))).encode())
    told.update(f"{way} {_KEY} {DEADLINE} {NAMES}".encode())
    for name in ("world", "robot", "rollout"):  # what an episode is
        told.update(Path(str(files(metaworld) / f"{name}.py")).read_bytes())
    for leaf in jax.tree.leaves((params.weights, policy, options)):
        told.update(np.asarray(leaf).tobytes())
    return told.hexdigest()[:16]


def latency(params: jax_stepcache.Params, way: str) -> float:
    """Milliseconds of one robot's control step, the median."""
    policy, options = sampler(params, way)
    brain = WorldPolicy(LatentPipeline(params), cache=policy, **options)
    if way != _SERVED:
        return _timed(params, brain)
    with policy_server(brain, deadline=600.0).background() as url:
        return _timed(params, RemotePolicy(url))


def _timed(params: jax_stepcache.Params, brain: Brain) -> float:
    shown = params.model.example(jax.random.key(_KEY), 1)
    picture = np.round(255 * np.asarray(shown["image"])).astype(np.uint8)
    message = {
        IMAGE: picture,
        STATE: np.asarray(shown["state"][0]),
        PROMPT: NAMES[int(shown["instruction"][0])],
    }
    session, seconds = brain.open(), []
    for _ in range(_WARM + _TIMED):
        begun = time.perf_counter()
        (reply,) = brain.step_many([session], [message], [{}])
        seconds.append(time.perf_counter() - begun)
        session = reply.session
        message[IMAGE] = np.repeat(picture, FRAMES, axis=0)
    return 1e3 * float(np.median(seconds[_WARM:]))


def summed(way: str, row: Row) -> Row:
    """A row with its figures, of the parts that follow one another from the first."""
    said = played(row)
    if not len(said):
        return row
    parts = list(_in_a_row(row))
    tasks = np.arange(len(said)) % len(NAMES)
    return {
        **row,
        "way": way,
        "episodes": len(said),
        "success": float(said.mean()),
        "success_error": _error(said),
        "tasks": {
            name: {
                "episodes": int((tasks == i).sum()),
                "success": float(said[tasks == i].mean()),
                "success_error": _error(said[tasks == i]),
            }
            for i, name in enumerate(NAMES)
        },
        "model_calls": float(
            np.average([x["calls"] for x in parts], weights=[*map(_length, parts)])
        ),
    }


def played(row: Row) -> np.ndarray:
    """Which episodes succeeded, bool[episodes], as far as there is no gap."""
    text = "".join(one["success"] for one in _in_a_row(row))
    return np.array([x == "1" for x in text], bool)


def _in_a_row(row: Row) -> Iterator[Row]:
    """The parts that follow one another from the first episode."""
    begin = 0
    while (one := row["parts"].get(str(begin))) is not None:
        yield one
        begin += _length(one)


def _length(one: Row) -> int:
    return len(one["success"])


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
    marks = {way: mark(params, way) for way in WAYS}
    rows = {way: old[way] for way in WAYS if old.get(way, {}).get("mark") == marks[way]}
    for way in given.ways:
        rows.setdefault(way, {"mark": marks[way], "parts": {}})
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
