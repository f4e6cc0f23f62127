"""DBCache: skip the middle blocks while the first ones do the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_count, check_numbers, fetched
from jax_stepcache.errors import naming_arguments, unknown_name
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
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.named.static_schedule import check_mask
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import FirstBlocks
from jax_stepcache.policy.span import Span

MASK_POLICIES = ("dynamic", "static")


@naming_arguments(
    {
        "fncomputeblocks": "first_blocks",
        "bncomputeblocks": "last_blocks",
        "residualdiffthreshold": "threshold",
    }
)
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
            ones are skipped. 0 skips nothing; 1 or more skips wherever warm-up,
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
    check_count("Fn_compute_blocks", first_blocks)
    check_count("Bn_compute_blocks", last_blocks)
    span = Span(first_blocks, last_blocks)
    if steps_policy not in MASK_POLICIES:
        raise ValueError(unknown_name("scm_steps_policy", steps_policy, MASK_POLICIES))
    check_numbers("residual_diff_threshold", threshold, least=0.0)
    check_count("max_warmup_steps", warmup_steps)
    check_count("warmup_interval", warmup_interval, 1)
    check_count("max_cached_steps", max_cached_steps, -1)
    check_count("max_continuous_cached_steps", max_continuous_cached_steps, -1)
    cap = _cap(max_accumulated)
    mask = None if steps_mask is None else checked_mask(steps_mask)
    if mask is not None and steps_policy == "static":
        # A mask's leading ones are its warm-up, and no cap applies past it.
        return compose(gate=Mask(mask), forecast=forecast, span=span)
    gate: Gate = Below(_always_from_one(threshold), cap)
    gate = MaxConsecutive(gate, leaf(max_continuous_cached_steps, np.int32))
    gate = MaxSkips(gate, leaf(max_cached_steps, np.int32))
    warmup = leaf(warmup_steps, np.int32)
    if mask is not None:
        gate = ForcedSteps(gate, mask)
        warmup = at_most_leading(warmup, mask)
    gate = WarmUp(gate, warmup, leaf(warmup_interval, np.int32))
    signal = FirstBlocks(shared=not separate_cfg_diff)
    return compose(signal=signal, gate=gate, forecast=forecast, span=span)


def at_most_leading(warmup: Any, mask: Any) -> Any:
    """A warm-up that ends where a mask first skips."""
    warmup, mask = fetched(warmup), fetched(mask)
    xp = jnp if isinstance(warmup, jax.Array) or isinstance(mask, jax.Array) else np
    leading = xp.cumprod(mask.astype(np.int32)).sum()
    return xp.minimum(warmup, leading).astype(np.int32)


def _always_from_one(threshold: float | jax.Array) -> jax.Array | np.ndarray:
    return _infinite_where(leaf(threshold, np.float32), lambda x: x >= 1)


def _cap(total: float | jax.Array | None) -> jax.Array | np.ndarray:
    if total is None:
        return leaf(math.inf, np.float32)
    check_numbers("max_accumulated_residual_diff_threshold", total)
    return _infinite_where(leaf(total, np.float32), lambda x: x <= 0)


def _infinite_where(number: Any, unbounded: Callable[[Any], Any]) -> Any:
    number = fetched(number)
    xp = jnp if isinstance(number, jax.Array) else np
    return xp.where(unbounded(number), np.float32(math.inf), number)


def checked_mask(mask: Any) -> jax.Array | np.ndarray:
    """A mask of steps as a leaf, checked where its values are there.

    Raises:
        ValueError: see `check_mask`.
    """
    if not isinstance(mask, Tracer):
        check_mask(mask)
    return leaf(mask, bool)
