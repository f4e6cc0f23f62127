"""How far a sample is from the one it is measured against."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def psnr(reference: jax.Array, other: jax.Array, peak: float = 1.0) -> jax.Array:
    """Peak signal-to-noise ratio, as papers on caching report it.

    Args:
        reference: [batch, ...] frames, normally the uncached sampler's.
        other: the same shape.
        peak: the largest value a pixel can have.

    Returns:
        float32 scalar in dB, the mean over the batch; infinite for equal frames.
    """
    axes = tuple(range(1, reference.ndim))
    error = jnp.mean(jnp.square(reference - other), axis=axes)
    return jnp.mean(10 * jnp.log10(peak**2 / error))


def rmse(reference: jax.Array, other: jax.Array) -> jax.Array:
    """Root mean square error over everything, float32 scalar, in the inputs' units."""
    return jnp.sqrt(jnp.mean(jnp.square(reference - other)))
