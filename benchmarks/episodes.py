"""Closed-loop episodes at the tabletop, each robot sampled as a batch of one.

The tables, flicker and noise are those of `jax_stepcache.models.tabletop.rollout`,
which plays all episodes in one program: there a cache that decides by itself costs as
much as none. Here it skips what it skips, with the program that samples the scenes.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from scenes import Way, sample_one

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

_KEY = 7


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


def success_together(
    params: jax_stepcache.Params, tables: Any, episodes: int, batch: int = 128
) -> float:
    """`success_rate` of a way that makes the same calls for every robot, in batches.

    Args:
        params: the tabletop's.
        tables: what to sample by; None for the usual steps without a cache.
        episodes: how many, a multiple of the batch.
        batch: robots side by side.

    Returns:
        The share.
    """
    worlds, controls = _begin(jax.random.split(jax.random.key(_KEY), episodes))
    there = jnp.zeros(episodes, bool)
    for chunk in range(DEADLINE // CHUNK):
        shown, noise = _look(worlds, controls[:, chunk])
        shown = jax.tree.map(lambda x: x[:, 0], shown)
        planned = [
            _planned(
                params,
                tables,
                jax.tree.map(lambda x, i=i: x[i : i + batch], shown),
                noise[i : i + batch],
            )
            for i in range(0, episodes, batch)
        ]
        worlds, arrived = _act(worlds, jnp.concatenate(planned))
        there |= arrived
    return float(there.mean())


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
