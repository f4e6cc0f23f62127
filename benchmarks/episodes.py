"""Closed-loop episodes at the tabletop, each robot sampled as a batch of one.

The tables, flicker and noise are those of `jax_stepcache.models.tabletop.rollout`,
which plays all episodes in one program: there a cache that decides by itself costs as
much as none. Here it skips what it skips, with the program that samples the scenes.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import device_name, print_table, write_json
from scenes import NUM_STEPS, Way, sample_one

import jax_stepcache
from jax_stepcache.models.tabletop.episodes import CHUNK
from jax_stepcache.models.tabletop.world import (
    DEADLINE,
    WorldState,
    observe,
    reached,
    reset,
    step,
)
from jax_stepcache.network.inputs import schedules_of
from jax_stepcache.paths import path_option

_KEY = 7
WAYS = ("uncached", "plain-4", "bespoke-4")
# Robots side by side, and how many are played before the file is written.
_BATCH, _PART = 128, 256


def success_rate(params: jax_stepcache.Params, way: Way, episodes: int) -> float:
    """Share of episodes that reach their block in time.

    Args:
        params: the tabletop's.
        way: how to sample.
        episodes: how many; the same ones for every way.

    Returns:
        The share.
    """
    worlds, controls = _begin(jax.random.split(jax.random.key(_KEY), episodes))
    there = jnp.zeros(episodes, bool)
    for chunk in range(DEADLINE // CHUNK):
        shown, noise = _look(worlds, controls[:, chunk])
        each = [jax.tree.map(lambda x, i=i: x[i], shown) for i in range(episodes)]
        actions = [
            sample_one(params, way, one, key)
            for one, key in zip(each, noise, strict=True)
        ]
        planned = jnp.concatenate([decoded["action"] for decoded, _ in actions])
        worlds, arrived = _act(worlds, planned)
        there |= arrived
    return float(there.mean())


def successes(
    params: jax_stepcache.Params, tables: Any, episodes: int, begin: int, end: int
) -> np.ndarray:
    """Which episodes succeed by a way that makes the same calls for every robot.

    Args:
        params: the tabletop's.
        tables: what to sample by; None for the usual steps without a cache.
        episodes: how many there are; the same ones for every way.
        begin: the first that is played.
        end: behind the last, after a whole number of batches.

    Returns:
        bool[end - begin].
    """
    keys = jax.random.split(jax.random.key(_KEY), episodes)[begin:end]
    worlds, controls = _begin(keys)
    there = jnp.zeros(end - begin, bool)
    for chunk in range(DEADLINE // CHUNK):
        shown, noise = _look(worlds, controls[:, chunk])
        shown = jax.tree.map(lambda x: x[:, 0], shown)
        planned = [
            _planned(
                params,
                tables,
                jax.tree.map(lambda x, i=i: x[i : i + _BATCH], shown),
                noise[i : i + _BATCH],
            )
            for i in range(0, end - begin, _BATCH)
        ]
        worlds, arrived = _act(worlds, jnp.concatenate(planned))
        there |= arrived
    return np.asarray(there)


@jax.jit
def _planned(
    params: jax_stepcache.Params, tables: Any, shown: Any, keys: jax.Array
) -> jax.Array:
    result = jax_stepcache.sample(params, observation=shown, key=keys, schedule=tables)
    return params.model.decode(result.sample)["action"]


@jax.jit
@jax.vmap
def _begin(key: jax.Array) -> tuple[WorldState, jax.Array]:
    """The world where an episode begins, and keys of its control steps."""
    world, *controls = jax.random.split(key, 1 + DEADLINE // CHUNK)
    return reset(world), jnp.stack(controls)


@jax.jit
@jax.vmap
def _look(world: WorldState, key: jax.Array) -> tuple[Any, jax.Array]:
    """What a robot sees, a batch of one, and the key of its noise."""
    camera, noise = jax.random.split(key)
    return jax.tree.map(lambda x: x[None], observe(world, camera)), noise


@jax.jit
@jax.vmap
def _act(world: WorldState, actions: jax.Array) -> tuple[WorldState, jax.Array]:
    """Acts out a chunk; also whether the robot was at its block on the way."""

    def act(world: WorldState, action: jax.Array) -> tuple[WorldState, jax.Array]:
        world = step(world, action)
        return world, reached(world)

    world, there = jax.lax.scan(act, world, actions)
    return world, there.any()


def _tables(params: jax_stepcache.Params, way: str) -> Any:
    """The tables of a way by its name; None without any."""
    kind, _, calls = way.partition("-")
    if kind == "uncached":
        return None
    model, n = params.model, int(calls)
    if kind == "bespoke":
        return model.bespoke(n).tables
    usual = schedules_of(model.outputs, n, model.defaults.shift, None)
    return jax_stepcache.as_table("unipc", usual)


def _mark(tables: Any) -> str:
    """What tells tables that changed from those that were played before."""
    parts = [np.asarray(x, np.float32).tobytes() for x in jax.tree.leaves(tables)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def played(row: dict[str, Any]) -> np.ndarray:
    """Which of a row's episodes succeeded, bool[episodes]."""
    packed = np.frombuffer(bytes.fromhex(row["outcomes"]), np.uint8)
    return np.unpackbits(packed).astype(bool)[: row["episodes"]]


def behind(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with how far each is from the uncached one, over episodes that both played.

    Args:
        rows: with their outcomes.

    Returns:
        The rows, ``behind`` and ``behind_error`` added: the difference of the shares
        and its standard error, of pairs: both ways played the same episodes.
    """
    whole = next((row for row in rows if row["way"] == "uncached"), None)
    if whole is None:
        return list(rows)

    def compared(row: dict[str, Any]) -> dict[str, Any]:
        n = min(whole["episodes"], row["episodes"])
        away = played(whole)[:n].astype(float) - played(row)[:n]
        error = float(away.std() / np.sqrt(n))
        return {**row, "behind": float(away.mean()), "behind_error": error}

    return [row if row is whole else compared(row) for row in rows]


def _row(way: str, mark: str, there: np.ndarray) -> dict[str, Any]:
    share = float(there.mean())
    kind, _, calls = way.partition("-")
    return {
        "way": way,
        "kind": kind,
        "calls": int(calls or NUM_STEPS),
        "episodes": len(there),
        "success": share,
        "success_error": float(np.sqrt(share * (1 - share) / len(there))),
        "tables": mark,
        "outcomes": np.packbits(there).tobytes().hex(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays what is not in the file yet, and writes it after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=path_option, required=True)
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--episodes", type=int, default=2048)
    given = parser.parse_args(arguments)
    if given.episodes % _PART:
        parser.error(f"--episodes must be a multiple of {_PART}")
    params = jax_stepcache.load_params("tabletop")
    old = json.loads(given.json.read_text()) if given.json.exists() else []
    rows = {row["way"]: row for row in old}
    for begin in range(0, given.episodes, _PART):
        for way in given.ways:
            tables = _tables(params, way)
            mark, row = _mark(tables), rows.get(way)
            there = np.zeros(0, bool)
            if row is not None and row["tables"] == mark:
                there = played(row)
            if len(there) > begin:
                continue
            start = time.perf_counter()
            new = successes(params, tables, given.episodes, begin, begin + _PART)
            rows[way] = _row(way, mark, np.concatenate([there, new]))
            write_json(given.json, behind(list(rows.values())))
            print(
                way, begin + _PART, f"{time.perf_counter() - start:.0f} s", flush=True
            )
    print(f"{device_name()}: tabletop, closed loop")
    shown = ("calls", "episodes", "success", "success_error", "behind", "behind_error")
    print_table(
        {
            row["way"]: {name: row.get(name) for name in shown}
            for row in behind(list(rows.values()))
        }
    )


if __name__ == "__main__":
    main()
