"""DBCache: skip the middle blocks while the first ones do the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import unknown_name
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.gates import (
    Below,
    ForcedSteps,
    Gate,
    Mask,
    MaxConsecutive,
    MaxSkips,
    WarmUp,
)
from jax_stepcache.policy.named.static_schedule import check_mask
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import FirstBlocks
from jax_stepcache.policy.span import Span

_MASK_POLICIES = ("dynamic", "static")


def db_cache(
    threshold: float | jax.Array = 0.24,
    *,
    first_blocks: int = 1,
    last_blocks: int = 0,
    warmup_steps: int | jax.Array = 4,
    warmup_interval: int | jax.Array = 1,
    max_cached_steps: int | jax.Array = -1,
    max_continuous_cached_steps: int | jax.Array = 3,
    max_accumulated: float | jax.Array | None = None,
    separate_cfg_diff: bool = True,
    steps_mask: Sequence[bool] | np.ndarray | jax.Array | None = None,
    steps_policy: str = "dynamic",
    forecast: Any = "hold",
) -> Composed:
    """DBCache, as in cache-dit; the defaults are vLLM-Omni's.

    Args:
        threshold: relative change of the first blocks' residual below which the middle
            ones are skipped. 0 or less skips nothing; 1 or more skips wherever warm-up,
            mask and caps let it.
        first_blocks: blocks that always run first, and whose residual is looked at.
        last_blocks: blocks that always run last.
        warmup_steps: steps that run first.
        warmup_interval: of these, every so many run.
        max_cached_steps: cap on all skipped steps; -1 for none.
        max_continuous_cached_steps: cap on consecutive ones; -1 for none.
        max_accumulated: cap on the sum of all changes that were looked at; None, or
            nothing positive, for none.
        separate_cfg_diff: whether the unconditional branch looks at its own change,
            rather than taking the conditional one's.
        steps_mask: bool[num_steps], true at steps that must compute; see `steps_mask`.
        steps_policy: what the other steps of the mask do: ``"dynamic"`` decides,
            ``"static"`` reuses, past every limit.
        forecast: what skipped steps use of the residual: ``"hold"``, or `Taylor` for
            cache-dit's TaylorSeer.

    Returns:
        The policy.

    Raises:
        ValueError: for settings that do not fit.
    """
    span = Span(first_blocks, last_blocks)
    if steps_policy not in _MASK_POLICIES:
        raise ValueError(unknown_name("scm_steps_policy", steps_policy, _MASK_POLICIES))
    check_numbers("residual_diff_threshold", threshold)
    check_count("max_warmup_steps", warmup_steps)
    check_count("warmup_interval", warmup_interval, 1)
    check_count("max_cached_steps", max_cached_steps, -1)
    check_count("max_continuous_cached_steps", max_continuous_cached_steps, -1)
    cap = _cap(max_accumulated)
    mask = None if steps_mask is None else _checked(steps_mask)
    if mask is not None and steps_policy == "static":
        # A mask's leading ones are its warm-up, and no cap applies past it.
        return compose(gate=Mask(mask), forecast=forecast, span=span)
    gate: Gate = Below(_always_from_one(threshold), cap)
    gate = MaxConsecutive(gate, jnp.asarray(max_continuous_cached_steps, jnp.int32))
    gate = MaxSkips(gate, jnp.asarray(max_cached_steps, jnp.int32))
    warmup = jnp.asarray(warmup_steps, jnp.int32)
    if mask is not None:
        gate = ForcedSteps(gate, mask)
        leading = jnp.cumprod(mask.astype(jnp.int32)).sum()
        warmup = jnp.minimum(warmup, leading)
    gate = WarmUp(gate, warmup, jnp.asarray(warmup_interval, jnp.int32))
    signal = FirstBlocks(shared=not separate_cfg_diff)
    return compose(signal=signal, gate=gate, forecast=forecast, span=span)


def _always_from_one(threshold: float | jax.Array) -> jax.Array:
    threshold = jnp.asarray(threshold, jnp.float32)
    return jnp.where(threshold >= 1, jnp.inf, threshold)


def _cap(total: float | jax.Array | None) -> jax.Array:
    if total is None:
        return jnp.float32(math.inf)
    check_numbers("max_accumulated_residual_diff_threshold", total)
    total = jnp.asarray(total, jnp.float32)
    return jnp.where(total > 0, total, jnp.inf)


def _checked(mask: Any) -> jax.Array:
    if not isinstance(mask, Tracer):
        check_mask(mask)
    return jnp.asarray(mask, bool)
