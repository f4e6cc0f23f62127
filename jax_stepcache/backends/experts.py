"""What belongs to each of a model's two experts: settings, and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.check import fetched
from jax_stepcache.errors import naming
from jax_stepcache.policy.named.switching import switching
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers.schedule import per_output

Backend = TypeVar("Backend", bound=CacheBackend)


def has_settings_of_each(config: DiffusionCacheConfig, model: Any) -> bool:
    """Whether the experts have settings of their own.

    Args:
        config: the settings.
        model: the model.

    Returns:
        Whether ``high`` or ``low`` is given.

    Raises:
        ValueError: where it is, and the model has one network.
    """
    if (config.high, config.low) == (None, None):
        return False
    if getattr(model, "experts_meet_at", None) is None:
        raise ValueError(
            "cache_config's 'high' and 'low' are for the experts of a model that "
            f"has two; {model.name} has one network"
        )
    return True


def of_each(
    backend: Backend, model: Any, composed: Callable[[Backend], Policy]
) -> Policy:
    """A policy for each expert, by the settings of both and its own over them.

    Args:
        backend: with the settings.
        model: of two experts.
        composed: makes a policy of a backend.

    Returns:
        The policy, which starts clean with the second expert.

    Raises:
        ValueError: if the settings make caches of other parts.
    """
    config = backend.config
    each = []
    for name in ("high", "low"):
        with naming("cache_config", name):
            each.append(composed(_with(backend, getattr(config, name))))
    above, below = each
    return switching(above, below, model.experts_meet_at)


def refuse_settings_of_each(
    config: DiffusionCacheConfig, model: Any, cache: str, why: str
) -> None:
    """Says that a cache has none for experts.

    Raises:
        ValueError: where ``high`` or ``low`` is given.
    """
    if has_settings_of_each(config, model):
        raise ValueError(
            f"cache={cache!r} takes no settings for 'high' or 'low': {why}"
        )


def steps_of_first(model: Any, schedule: Any) -> int | None:
    """How many of a schedule's steps the high-noise expert takes.

    Args:
        model: the model.
        schedule: a schedule or a table.

    Returns:
        The number; None for one network, or where it does not tell by timesteps.
    """
    expert_at = getattr(model, "expert_at", None)
    if expert_at is None or model.experts_meet_at is None:
        return None
    (one,) = per_output(schedule, np.zeros(()))
    times = np.asarray(fetched(one.timesteps), np.float32)
    return [expert_at(float(t)) for t in times].count(expert_at(np.inf))


def _with(backend: Backend, own: Mapping[str, Any] | None) -> Backend:
    """The backend with some settings of its own."""
    if own is None:
        return backend
    DiffusionCacheConfig.from_dict(own)  # which checks the names
    if "original" in own:
        raise ValueError(
            "original says how the cache of both experts decides; give it beside "
            "'high' and 'low', not within"
        )
    return type(backend)(replace(backend.config, **own))
