"""TaylorSeer at fixed intervals: skip all blocks and extrapolate what they add."""

from __future__ import annotations

from typing import Any

from jax_stepcache.check import check_count
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import Taylor
from jax_stepcache.policy.gates import Mask
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Composed


@naming_arguments({"interval": "cache_interval", "order": "max_order"})
def taylor_seer(
    num_steps: int,
    cache_interval: int = 5,
    disable_cache_before_step: int = 3,
    disable_cache_after_step: int | None = None,
    max_order: int = 1,
    *,
    lite: bool = False,
    attention_only: bool = False,
    forecast: Any = None,
) -> Composed:
    """TaylorSeer (Liu et al. 2025), as in diffusers' ``TaylorSeerCacheConfig``.

    What all blocks add to the tokens is extrapolated in one piece, one buffer an
    order. diffusers' own default extrapolates what each attention says, and runs the
    rest of the blocks at every step: ``attention_only``.

    Args:
        num_steps: the schedule's step count.
        cache_interval: from the second skipped step on, every so many run.
        disable_cache_before_step: steps that run first, at least 1.
        disable_cache_after_step: the step from which all run again, or None.
        max_order: of the series.
        lite: whether it extrapolates the velocity and skips the whole network
            (``use_lite_mode``).
        attention_only: whether it extrapolates what the attentions say, of a network
            that can be given that.
        forecast: another forecast than the series.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit, or both ``lite`` and
            ``attention_only``.
    """
    if lite and attention_only:
        raise ValueError(
            "use_lite_mode skips the whole network and attention_only a part of each "
            "block; give one of them"
        )
    check_count("cache_interval", cache_interval, 1)
    check_count("disable_cache_before_step", disable_cache_before_step, 1)
    check_count("max_order", max_order)
    before, after = disable_cache_before_step, disable_cache_after_step
    if after is not None:
        check_count("disable_cache_after_step", after, before)
    mask = [
        step < before
        or (step - before - 1) % cache_interval == 0
        or (after is not None and step >= after)
        for step in range(num_steps)
    ]
    forecast = Taylor(max_order) if forecast is None else forecast
    span = "network" if lite else "attentions" if attention_only else "blocks"
    return compose(gate=Mask(leaf(mask, bool)), forecast=forecast, span=span)
