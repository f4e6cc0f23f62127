"""How far a sample is from the one it is measured against."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_WINDOW = 7


def psnr(reference: jax.Array, other: jax.Array, peak: float = 1.0) -> jax.Array:
    """Peak signal-to-noise ratio, as papers on caching report it.

    Args:
        reference: [batch, ...] frames, normally the uncached sampler's.
        other: the same shape.
        peak: the largest value a pixel can have.

    Returns:
        float32 scalar in dB, the mean over the batch; infinite for equal frames.
    """
    return jnp.mean(psnr_of_each(reference, other, peak))


def psnr_of_each(
    reference: jax.Array, other: jax.Array, peak: float = 1.0
) -> jax.Array:
    """`psnr` of each sample, float32[batch] in dB."""
    axes = tuple(range(1, reference.ndim))
    error = jnp.mean(jnp.square(reference - other), axis=axes)
    return 10 * jnp.log10(peak**2 / error)


def ssim(reference: jax.Array, other: jax.Array, peak: float = 1.0) -> jax.Array:
    """Structural similarity, in windows of 7 x 7 pixels.

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity"; as scikit-image's `structural_similarity` has it by default.

    Args:
        reference: [batch, height, width, channels], 7 pixels or more on each side.
        other: the same shape.
        peak: the largest value a pixel can have.

    Returns:
        float32 scalar, the mean over the batch, the channels and all places at which
        the window lies within the picture; 1 for equal ones.
    """
    a, b = (x.astype(jnp.float32) for x in (reference, other))
    size = _WINDOW**2

    def mean(x: jax.Array) -> jax.Array:
        window = (1, _WINDOW, _WINDOW, 1)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * 4, "valid") / (
            size
        )

    mean_a, mean_b = mean(a), mean(b)
    # Of a sample of so many pixels.
    unbiased = size / (size - 1)
    var_a, var_b = (
        unbiased * (mean(x * x) - m**2) for x, m in ((a, mean_a), (b, mean_b))
    )
    both = unbiased * (mean(a * b) - mean_a * mean_b)
    small, less = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    alike = (2 * mean_a * mean_b + small) * (2 * both + less)
    return (alike / ((mean_a**2 + mean_b**2 + small) * (var_a + var_b + less))).mean()


def rmse(reference: jax.Array, other: jax.Array) -> jax.Array:
    """Root mean square error over everything, float32 scalar, in the inputs' units."""
    return jnp.sqrt(jnp.mean(jnp.square(reference - other)))
