"""From what users write after ``cache=`` to a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import jax

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.bespoke import BespokeBackend
from jax_stepcache.backends.config import DiffusionCacheConfig, wrong_config
from jax_stepcache.backends.inside import check_policy
from jax_stepcache.backends.selector import get_cache_backend
from jax_stepcache.backends.static_schedule import TunedBackend
from jax_stepcache.check import check_leaves
from jax_stepcache.policy.named import Uncached
from jax_stepcache.policy.policy import Policy


def resolve_policy(
    cache: str | CacheBackend | Policy | None,
    model: Any,
    num_steps: int,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    budget: int | None = None,
    forecast: Any = None,
) -> Policy:
    """Finds the policy that ``cache`` and its settings mean.

    Args:
        cache: a backend's name, a backend, a policy, or None.
        model: the model it will serve.
        num_steps: the schedule's step count.
        cache_config: settings for a backend that is named.
        budget: model calls, for ``"tuned"``.
        forecast: what skipped steps use, for a backend that is named.

    Returns:
        The policy.

    Raises:
        ValueError: for unknown names, settings that do not fit, or settings beside a
            cache that already has its own.
        TypeError: where an argument is of the wrong kind.
    """
    found = resolve_cache(cache, model, cache_config, budget, forecast)
    return found.policy(model, num_steps) if isinstance(found, CacheBackend) else found


def resolve_cache(
    cache: str | CacheBackend | Policy | None,
    model: Any,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    budget: int | None = None,
    forecast: Any = None,
) -> CacheBackend | Policy:
    """Finds the backend or the policy that ``cache`` and its settings mean.

    Args:
        cache: see `resolve_policy`; so are the others.
        model: likewise.
        cache_config: likewise.
        budget: likewise.
        forecast: likewise.

    Returns:
        The backend, which makes a policy for a step count or brings tables; or the
        policy.

    Raises:
        ValueError: see `resolve_policy`.
        TypeError: likewise.
    """
    if cache is None or isinstance(cache, str):
        if is_dataclass(cache_config) and not isinstance(cache_config, type):
            cache_config = vars(cache_config)  # diffusers' settings, too
        elif not (cache_config is None or isinstance(cache_config, Mapping)):
            raise TypeError(wrong_config(cache_config))
        settings = dict(cache_config or {})
        for name, value in (("budget", budget), ("forecast", forecast)):
            if value is not None:
                settings[name] = value
        backend = get_cache_backend(cache, settings)
        if budget is not None and not isinstance(
            backend, TunedBackend | BespokeBackend
        ):
            raise ValueError(
                f"budget={budget} goes with cache='tuned' or 'bespoke', not {cache!r}"
            )
        if settings and backend is None:
            raise ValueError(
                f"{', '.join(sorted(settings))}: of a cache, and there is none, so no "
                "step is skipped; name one, such as cache='taylor_seer', or leave it "
                "out"
            )
        return Uncached() if backend is None else backend
    if not (cache_config is None and budget is None and forecast is None):
        raise ValueError(
            "cache_config, budget and forecast go with a cache that is named; "
            f"{type(cache).__name__} has its own settings"
        )
    if isinstance(cache, CacheBackend):
        return cache
    if not callable(getattr(cache, "decide", None)):
        raise TypeError(
            f"cache is {cache!r}; give a backend's name, a CacheBackend, a Policy, or "
            "None"
        )
    if any(leaf is cache for leaf in jax.tree.leaves(cache)):
        raise TypeError(
            f"cache is a {type(cache).__name__}, which is no pytree; register it, as "
            "with jax_stepcache.register_dataclass"
        )
    check_leaves(cache, "cache")
    check_policy(cache, model)
    return cache
