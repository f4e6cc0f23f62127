"""Caches inside the network decide as the originals did, and give their numbers.

Recorded files whose original went through two generations without a refresh carried its
state over; here every generation starts clean, and that is what is tested with them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Pipeline, Policy, View, get_cache_backend, steps_mask
from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.gated import gated
from jax_stepcache.network.guidance import mix_branches
from jax_stepcache.network.own import function_model
from jax_stepcache.policy.view import Inside

from .cases import caches_files, parametrize
from .toy import Toy
from .toy_run import (
    TOLERANCE,
    assert_close,
    cache_of,
    config_of,
    generations,
    guidance_of,
    load,
    run_toy,
    toy_of,
    toy_options,
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config, names = metafunc.config, set(metafunc.fixturenames)
    if "masks" in names:
        files = caches_files(config, "scm_masks.json")
        parametrize(metafunc, "masks", files, [f"caches-{f.name}" for f in files])
    if "reproduced" in names or "stale" in names:
        name = "reproduced" if "reproduced" in names else "stale"
        files = [f for f in _recorded(config) if _is_clean(f) == (name == "reproduced")]
        parametrize(metafunc, name, files, [f"caches-{f.name}" for f in files])
    if "alike" in names:
        groups = _groups(config)
        ids = [f"caches-{name}" for name in groups]
        parametrize(metafunc, "alike", list(groups.values()), ids)


def test_sampler_matches_original(reproduced: Path) -> None:
    """`sample` decides alike, step by step and branch by branch, with equal numbers."""
    name, settings, layout = cache_of(reproduced)
    arrays = load(reproduced)
    (steps,) = generations(reproduced)[:1]
    run = run_toy(reproduced, name, settings, layout, steps)
    stats = run.result.stats
    each = stats if arrays["computed"].ndim == 1 else stats.branches
    assert each is not None
    end = slice(steps.start, steps.stop + 1)
    assert np.asarray(each.computed).tolist() == arrays["computed"][steps].tolist()
    assert_close("x", run.x, arrays["x"][end])
    assert_close("velocity", run.velocity, arrays["velocity"][steps])
    _assert_signals(reproduced, steps, np.asarray(each.signal))
    computed = np.asarray(stats.computed)
    assert stats.model_calls == computed.sum()
    assert _by_branch(arrays["computed"][steps]).any(axis=1).tolist() == (
        computed.tolist()
    )


def test_policy_in_a_compiled_loop_matches_original(reproduced: Path) -> None:
    """At the recorded samples, the policy behind the real gate decides alike.

    What the span would give is made beforehand, so nothing of the sampler's own way
    through the network is in this.
    """
    arrays = load(reproduced)
    steps = generations(reproduced)[0]
    policy, seen = _policy(reproduced, steps.stop), _seen(reproduced, steps)
    computed, signal, leaving = _walk(policy, seen, _branches(reproduced))
    recorded = arrays["computed"][steps]
    assert np.asarray(computed).tolist() == _by_branch(recorded).tolist()
    _assert_signals(reproduced, steps, np.asarray(signal).reshape(recorded.shape))
    said = _velocity(reproduced, leaving)
    if "velocity_branches" in arrays:
        count = said.shape[1] // arrays["x"].shape[1]
        theirs = arrays["velocity_branches"][steps]
        apart = said.reshape(len(said), count, -1, *said.shape[2:])
        assert_close("velocity of each branch", apart, theirs)
    assert_close("velocity", _mixed(reproduced, said), arrays["velocity"][steps])


def test_policies_can_be_mapped(alike: Sequence[Path]) -> None:
    """Under `vmap` each element decides as the original did, and as it does alone.

    Mapped are recorded runs of one structure, and one more with other settings.
    """
    steps, count = generations(alike[0])[0], _branches(alike[0])
    policies = [_policy(file, steps.stop) for file in alike]
    policies.append(_policy(alike[0], steps.stop, loosened=2))
    seen = [_seen(file, steps) for file in (*alike, alike[0])]
    walk = jax.jit(jax.vmap(functools.partial(_walk, count=count)))
    computed, _, leaving = map(np.asarray, walk(_stack(policies), _stack(seen)))
    for file, mapped in zip(alike, computed, strict=False):
        assert mapped.tolist() == _by_branch(load(file)["computed"][steps]).tolist()
    for policy, at, mapped, value in zip(
        policies, seen, computed, leaving, strict=True
    ):
        alone = _walk(policy, at, count)
        assert mapped.tolist() == np.asarray(alone[0]).tolist()
        assert_close("what leaves the span", value, np.asarray(alone[2]))
        assert mapped.any()
    assert computed[-1].sum() < computed[0].sum(), "the settings made no difference"


def test_each_generation_starts_clean(stale: Path) -> None:
    """Without a refresh in between, a second generation is as if sampled alone."""
    name, settings, layout = cache_of(stale)
    pipeline = Pipeline(
        toy_weights(stale),
        model=toy_of(config_of(stale)["dims"]["L"]),
        cache_backend=name,
        cache_config=settings,
    )
    arrays, first = load(stale), generations(stale)[0]
    for steps in generations(stale):
        after = pipeline(**toy_options(stale, layout, steps))
        alone = run_toy(stale, name, settings, layout, steps)
        for ours, theirs in zip(
            jax.tree.leaves(after), jax.tree.leaves(alone.result), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        computed = _computed(alone.result.stats, arrays["computed"].ndim)
        assert computed[0].all(), "something was left over from the generation before"
        assert not computed.all()
        if steps == first:
            assert computed.tolist() == arrays["computed"][steps].tolist()
            x = arrays["x"][steps]
            assert_close("x", alone.x[: len(x)], x)
            assert_close("velocity", alone.velocity, arrays["velocity"][steps])


def test_masks_match_original(masks: Path) -> None:
    """Step-computation masks by policy and step count are cache-dit's, every one."""
    recorded = json.loads(masks.read_text())
    for name, mask in recorded.items():
        count, policy = name.split("/")
        ours = steps_mask(int(count), policy)
        assert ours.tolist() == [bool(x) for x in mask], name
        assert ours.any()
        assert not ours.all()


def test_recorded_runs_reuse_and_compute(pytestconfig: pytest.Config) -> None:
    """The comparison is not an empty one: each cache skipped and computed."""
    ran: dict[str, list[np.ndarray]] = {}
    for file in _recorded(pytestconfig):
        ran.setdefault(config_of(file)["impl"], []).append(load(file)["computed"])
    if not ran:
        pytest.skip("no recorded run of a cache inside the network")
    for name, computed in ran.items():
        flat = np.concatenate([x.ravel() for x in computed])
        assert flat.any(), name
        assert not flat.all(), name


def _recorded(config: pytest.Config) -> list[Path]:
    """The files of all caches but StepCache, which has its own tests."""
    files = caches_files(config, "*.npz")
    return [file for file in files if not file.name.startswith("stepcache_")]


def _is_clean(file: Path) -> bool:
    """Whether the original had nothing left over from a generation before."""
    return len(generations(file)) == 1 or config_of(file).get("reset_between", False)


def _groups(config: pytest.Config) -> dict[str, list[Path]]:
    """For each cache, the most files whose policies and arrays can be stacked."""
    best: dict[str, list[Path]] = {}
    groups: dict[Any, list[Path]] = {}
    for file in _recorded(config):
        computed = load(file)["computed"][generations(file)[0]]
        if computed.all() or not _is_clean(file):
            continue
        policy = _policy(file, generations(file)[0].stop)
        signal = getattr(getattr(policy, "signal", None), "looks_at", "")
        name = config_of(file)["impl"]
        if signal == "nothing" and name == "dbcache":
            continue  # a static mask: no setting would make a difference
        key = (
            name,
            guidance_of(file) != 1,
            jax.tree.structure(policy),
            str([jnp.shape(x) for x in jax.tree.leaves(policy)]),
            load(file)["x"].shape,
        )
        groups.setdefault(key, []).append(file)
    for (name, *_), files in groups.items():
        if len(files) > len(best.get(name, [])):
            best[name] = files
    return best


def _policy(file: Path, num_steps: int, loosened: int = 1) -> Policy:
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


def _branches(file: Path) -> int:
    return 1 if guidance_of(file) == 1 else 2


def _by_branch(computed: np.ndarray) -> np.ndarray:
    """bool[steps, branches]; one branch where they do not decide apart."""
    return computed.reshape(len(computed), -1)


def _computed(stats: Any, ndim: int) -> np.ndarray:
    return np.asarray((stats if ndim == 1 else stats.branches).computed)


class _Seen(NamedTuple):
    """What there is to see at each step: arrays with a leading axis for these."""

    sigma: jax.Array
    sample: jax.Array
    hidden: jax.Array
    first: jax.Array
    modulated: jax.Array
    leaving: jax.Array


@functools.cache
def _ends(file: Path) -> tuple[int, int, int]:
    """First block of the span, the block behind it, and how many blocks there are."""
    blocks = config_of(file)["dims"]["L"]
    span = getattr(_policy(file, generations(file)[0].stop), "span", None)
    assert span is not None
    return span.first, blocks - span.last, blocks


def _seen(file: Path, steps: slice) -> _Seen:
    """The toy's stages at the recorded samples, of all steps and branches at once."""
    arrays, count = load(file), _branches(file)
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
    return _Seen(jnp.asarray(sigma), jnp.asarray(sample), *apart)


@functools.partial(jax.jit, static_argnames="ends")
def _parts(weights: Any, x: Any, t: Any, branch: Any, ends: tuple[int, ...]) -> Any:
    toy, (first, end, _) = Toy(ends[2]), ends
    start, context = toy.embed(weights, x, t, branch)
    hidden = toy.blocks(weights, start, context, 0, first) if first else start
    leaving = toy.blocks(weights, hidden, context, first, end)
    return hidden, hidden - start, toy.modulated(weights, start, context), leaving


def _velocity(file: Path, leaving: jax.Array) -> np.ndarray:
    """[steps, rows, tokens, channels]: what the network makes of what left the span."""
    arrays, count = load(file), _branches(file)
    num_steps, rows = leaving.shape[:2]
    t = np.repeat(arrays["sigma"][:num_steps] * np.float32(1000), rows)
    branch = np.tile(np.repeat(np.arange(count), rows // count), num_steps)
    flat = np.asarray(leaving).reshape(-1, *leaving.shape[2:])
    x = np.zeros((len(flat), *arrays["x"].shape[2:]), np.float32)
    columns = (_padded(column) for column in (flat, x, t, branch))
    said = np.asarray(_behind(toy_weights(file), *columns, _ends(file)))
    return said[: len(flat)].reshape(num_steps, rows, *said.shape[1:])


@functools.partial(jax.jit, static_argnames="ends")
def _behind(
    weights: Any, leaving: Any, x: Any, t: Any, branch: Any, ends: tuple[int, ...]
) -> jax.Array:
    toy, (_, end, blocks) = Toy(ends[2]), ends
    _, context = toy.embed(weights, x, t, branch)
    if end < blocks:
        leaving = toy.blocks(weights, leaving, context, end, blocks)
    return toy.head(weights, leaving, context)


def _mixed(file: Path, said: np.ndarray) -> np.ndarray:
    if _branches(file) == 1:
        return said
    scale = jnp.float32(guidance_of(file))
    mix = jax.vmap(lambda rows: mix_branches(rows, scale, None))
    return np.asarray(mix(jnp.asarray(said)))


def _padded(column: np.ndarray, multiple: int = 64) -> np.ndarray:
    """Zeros behind the last row, so that files of other lengths share a program."""
    more = -len(column) % multiple
    return np.pad(column, [(0, more), *[(0, 0)] * (column.ndim - 1)])


@functools.partial(jax.jit, static_argnames="count")
def _walk(policy: Policy, seen: _Seen, count: int) -> Any:
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


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _assert_signals(file: Path, steps: slice, ours: np.ndarray) -> None:
    """Equal where both looked. cache-dit records -1 where it did not need to."""
    theirs = load(file)["signal"][steps]
    assert ours.shape == theirs.shape
    both = ~np.isnan(ours) & ~np.isnan(theirs) & (theirs != -1)
    assert both.any() or not (theirs > 0).any(), "no signal was compared"
    difference = np.abs(ours - theirs)[both]
    assert (difference <= TOLERANCE).all(), f"signal: max error {difference.max():.2e}"
