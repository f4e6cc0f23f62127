"""What optimisers of all runs have in common: the rate, and clipped gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax


def warmup_cosine(learning_rate: float, warmup: int, steps: int) -> optax.Schedule:
    """A rate that rises linearly, then falls to zero along a cosine.

    Args:
        learning_rate: its peak.
        warmup: steps until there.
        steps: of the whole schedule, the warm-up included.

    Returns:
        The schedule.
    """
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)


def clipped(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser that is shown gradients of a norm of at most 1."""
    return optax.chain(optax.clip_by_global_norm(1.0), optimizer)


def clipped_adamw(
    rate: optax.Schedule,
    weight_decay: float,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """AdamW with clipped gradients.

    Args:
        rate: the learning rate.
        weight_decay: of the weights that decay.
        mask: which ones do; all of them unless given.

    Returns:
        The optimiser.
    """
    return clipped(optax.adamw(rate, weight_decay=weight_decay, mask=mask))
