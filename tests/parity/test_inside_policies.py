"""At the recorded samples, each policy behind the real gate decides as the original."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .cases import parametrize
from .inside import (
    assert_signals,
    by_branch,
    count_branches,
    is_clean,
    parametrize_runs,
    recorded_runs,
)
from .seen import mixed, policy_of, seen_at, velocity_behind, walk_through
from .toy_run import assert_close, config_of, generations, guidance_of, load


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "reproduced" in metafunc.fixturenames:
        parametrize_runs(metafunc, "reproduced", clean=True)
    if "alike" in metafunc.fixturenames:
        groups = _groups(metafunc.config)
        ids = [f"caches-{name}" for name in groups]
        parametrize(metafunc, "alike", list(groups.values()), ids)


def test_policy_in_a_compiled_loop_matches_original(reproduced: Path) -> None:
    """At the recorded samples, the policy behind the real gate decides alike.

    What the span would give is made beforehand, so nothing of the sampler's own way
    through the network is in this.
    """
    arrays = load(reproduced)
    steps = generations(reproduced)[0]
    policy, seen = policy_of(reproduced, steps.stop), seen_at(reproduced, steps)
    computed, signal, leaving = walk_through(policy, seen, count_branches(reproduced))
    recorded = arrays["computed"][steps]
    assert np.asarray(computed).tolist() == by_branch(recorded).tolist()
    assert_signals(reproduced, steps, np.asarray(signal).reshape(recorded.shape))
    said = velocity_behind(reproduced, leaving)
    if "velocity_branches" in arrays:
        count = said.shape[1] // arrays["x"].shape[1]
        theirs = arrays["velocity_branches"][steps]
        apart = said.reshape(len(said), count, -1, *said.shape[2:])
        assert_close("velocity of each branch", apart, theirs)
    assert_close("velocity", mixed(reproduced, said), arrays["velocity"][steps])


def test_policies_can_be_mapped(alike: Sequence[Path]) -> None:
    """Under `vmap` each element decides as the original did, and as it does alone.

    Mapped are recorded runs of one structure, and one more with other settings.
    """
    steps, count = generations(alike[0])[0], count_branches(alike[0])
    policies = [policy_of(file, steps.stop) for file in alike]
    policies.append(policy_of(alike[0], steps.stop, loosened=2))
    seen = [seen_at(file, steps) for file in (*alike, alike[0])]
    walk = jax.jit(jax.vmap(functools.partial(walk_through, count=count)))
    computed, _, leaving = map(np.asarray, walk(_stack(policies), _stack(seen)))
    for file, mapped in zip(alike, computed, strict=False):
        assert mapped.tolist() == by_branch(load(file)["computed"][steps]).tolist()
    for policy, at, mapped, value in zip(
        policies, seen, computed, leaving, strict=True
    ):
        alone = walk_through(policy, at, count)
        assert mapped.tolist() == np.asarray(alone[0]).tolist()
        assert_close("what leaves the span", value, np.asarray(alone[2]))
        assert mapped.any()
    assert computed[-1].sum() < computed[0].sum(), "the settings made no difference"


def _groups(config: pytest.Config) -> dict[str, list[Path]]:
    """For each cache, the most files whose policies and arrays can be stacked."""
    best: dict[str, list[Path]] = {}
    groups: dict[Any, list[Path]] = {}
    for file in recorded_runs(config):
        computed = load(file)["computed"][generations(file)[0]]
        if computed.all() or not is_clean(file):
            continue
        policy = policy_of(file, generations(file)[0].stop)
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


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
