"""How far two arrays are apart, relative to the first: TeaCache's distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def relative_l1(
    old: jax.Array,
    new: jax.Array,
    eps: float = 0.0,
    per_sample: bool = False,
    still: bool = False,
) -> jax.Array:
    """Mean absolute difference over the mean absolute value.

    Args:
        old: [batch, ...] array.
        new: the same shape.
        eps: added to the mean absolute value of ``old``.
        per_sample: whether the ratio is taken for each sample and then averaged,
            rather than once over the batch.
        still: whether equal arrays are at a distance of 0, be they 0 or not.

    Returns:
        float32 scalar; NaN where both means are 0 and so is ``eps``, unless ``still``.
    """
    old, new = old.astype(jnp.float32), new.astype(jnp.float32)
    axes = tuple(range(1, old.ndim)) if per_sample else None
    difference = jnp.abs(new - old).mean(axis=axes)
    size = jnp.abs(old).mean(axis=axes) + eps
    if still:
        size = jnp.where(difference == 0, 1.0, size)
    return (difference / size).mean()
