"""What a cache inside the network saw in a recorded run; its policy, walked there."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache import Policy, View, get_cache_backend
from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.gated import gated
from jax_stepcache.network.guidance import mix_branches
from jax_stepcache.network.own import function_model
from jax_stepcache.policy.view import Inside

from .inside import count_branches
from .toy import Toy
from .toy_run import (
    cache_of,
    config_of,
    generations,
    guidance_of,
    load,
    toy_of,
    toy_weights,
)

# What makes a cache skip more, by the cache's name.
_LOOSENS = {
    "tea_cache": "rel_l1_thresh",
    "cache_dit": "residual_diff_threshold",
    "mag_cache": "mag_threshold",
    "sea_cache": "sea_threshold",
    "first_block_cache": "threshold",
    "taylor_seer": "cache_interval",
}


def policy_of(file: Path, num_steps: int, loosened: int = 1) -> Policy:
    """The policy of a file's settings, or of settings that skip more."""
    name, settings, _ = cache_of(file)
    key = _LOOSENS[name]
    if loosened != 1:
        settings = settings | {key: loosened * settings[key]}
    backend = get_cache_backend(name, settings)
    assert backend is not None
    return backend.policy(_model(file), num_steps)


def _model(file: Path) -> Any:
    return function_model(toy_of(config_of(file)["dims"]["L"]))


class Seen(NamedTuple):
    """What there is to see at each step: arrays with a leading axis for these."""

    sigma: jax.Array
    sample: jax.Array
    hidden: jax.Array
    first: jax.Array
    modulated: jax.Array
    leaving: jax.Array


def seen_at(file: Path, steps: slice) -> Seen:
    """The toy's stages at the recorded samples, of all steps and branches at once."""
    arrays, count = load(file), count_branches(file)
    x = arrays["x"][steps]
    sample = x.reshape(*x.shape[:2], *(cache_of(file)[2] or x.shape[2:3]), x.shape[-1])
    x = np.concatenate([x] * count, axis=1)
    num_steps, rows = x.shape[:2]
    sigma = arrays["sigma"][steps]
    t = np.repeat(sigma * np.float32(1000), rows)
    branch = np.tile(np.repeat(np.arange(count), rows // count), num_steps)
    parts = _parts(
        toy_weights(file),
        *(_padded(column) for column in (x.reshape(-1, *x.shape[2:]), t, branch)),
        _ends(file),
    )
    apart = [
        part[: num_steps * rows].reshape(num_steps, rows, *part.shape[1:])
        for part in parts
    ]
    return Seen(jnp.asarray(sigma), jnp.asarray(sample), *apart)


def velocity_behind(file: Path, leaving: jax.Array) -> np.ndarray:
    """[steps, rows, tokens, channels]: what the network makes of what left the span."""
    arrays, count = load(file), count_branches(file)
    num_steps, rows = leaving.shape[:2]
    t = np.repeat(arrays["sigma"][:num_steps] * np.float32(1000), rows)
    branch = np.tile(np.repeat(np.arange(count), rows // count), num_steps)
    flat = np.asarray(leaving).reshape(-1, *leaving.shape[2:])
    x = np.zeros((len(flat), *arrays["x"].shape[2:]), np.float32)
    columns = (_padded(column) for column in (flat, x, t, branch))
    said = np.asarray(_behind(toy_weights(file), *columns, _ends(file)))
    return said[: len(flat)].reshape(num_steps, rows, *said.shape[1:])


def mixed(file: Path, said: np.ndarray) -> np.ndarray:
    if count_branches(file) == 1:
        return said
    scale = jnp.float32(guidance_of(file))
    mix = jax.vmap(lambda rows: mix_branches(rows, scale, None))
    return np.asarray(mix(jnp.asarray(said)))


@functools.partial(jax.jit, static_argnames="count")
def walk_through(policy: Policy, seen: Seen, count: int) -> Any:
    """Goes through the steps; which branches ran, their signals, what left the span."""
    branches = Branches(policy, count)
    num_steps = len(seen.sigma)

    def at(step: jax.Array) -> tuple[View, jax.Array]:
        here = jax.tree.map(lambda x: x[step], seen)
        inside = Inside(
            here.hidden, here.first, here.modulated, here.sigma, jnp.int32(count)
        )
        return View(step, here.sigma, here.sample, inside), here.leaving

    def one(state: Any, step: jax.Array) -> Any:
        view, leaving = at(step)
        value, decision = gated(branches, state, view, run=lambda: leaving)
        value = branches.settle(decision.state, view, value)
        signal = jnp.atleast_1d(decision.signal)
        return decision.state, (decision.state.ran, signal, value)

    state = branches.init(at(jnp.int32(0))[0], num_steps)
    return jax.lax.scan(one, state, jnp.arange(num_steps))[1]


@functools.cache
def _ends(file: Path) -> tuple[int, int, int]:
    """First block of the span, the block behind it, and how many blocks there are."""
    blocks = config_of(file)["dims"]["L"]
    span = getattr(policy_of(file, generations(file)[0].stop), "span", None)
    assert span is not None
    return span.first, blocks - span.last, blocks


@functools.partial(jax.jit, static_argnames="ends")
def _parts(weights: Any, x: Any, t: Any, branch: Any, ends: tuple[int, ...]) -> Any:
    toy, (first, end, _) = Toy(ends[2]), ends
    start, context = toy.embed(weights, x, t, branch)
    hidden = toy.blocks(weights, start, context, 0, first) if first else start
    leaving = toy.blocks(weights, hidden, context, first, end)
    return hidden, hidden - start, toy.modulated(weights, start, context), leaving


@functools.partial(jax.jit, static_argnames="ends")
def _behind(
    weights: Any, leaving: Any, x: Any, t: Any, branch: Any, ends: tuple[int, ...]
) -> jax.Array:
    toy, (_, end, blocks) = Toy(ends[2]), ends
    _, context = toy.embed(weights, x, t, branch)
    if end < blocks:
        leaving = toy.blocks(weights, leaving, context, end, blocks)
    return toy.head(weights, leaving, context)


def _padded(column: np.ndarray, multiple: int = 64) -> np.ndarray:
    """Zeros behind the last row, so that files of other lengths share a program."""
    more = -len(column) % multiple
    return np.pad(column, [(0, more), *[(0, 0)] * (column.ndim - 1)])
