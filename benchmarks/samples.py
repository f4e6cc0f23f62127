"""Samples that a bundled model's settings are found on.

Of a model that draws its own observations as many as are wanted. Meta-World's come from
its simulator: moments of uncached episodes that no evaluation plays.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

import jax_stepcache
from jax_stepcache.models.metaworld.conditions import conditions
from jax_stepcache.models.metaworld.rollout import rollout

_MOMENTS = 5  # of an episode; short ones have seven


def samples_of(
    params: jax_stepcache.Params, count: int, key: jax.Array
) -> int | Mapping[str, Any]:
    """What `jax_stepcache.calibrate` takes as ``samples``.

    Args:
        params: a bundled model.
        count: how many.
        key: draws them.

    Returns:
        The number, or the samples.
    """
    if params.model.name != "metaworld":
        return count
    played, drawn = jax.random.split(key)
    episodes = -(-count // _MOMENTS)
    outcome = rollout(params, jax_stepcache.Uncached(), played, episodes=episodes)
    print(f"{episodes} episodes, success {outcome.success.mean():.2f}", flush=True)
    return conditions(params, outcome, drawn, count)
