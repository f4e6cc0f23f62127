"""Pictures of another size: bilinear, with antialiasing or without."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Resize:
    """Bilinear with half-pixel centres, edges repeated, columns before rows.

    With antialiasing the triangle is as wide as the picture shrinks, and its weights
    are normalised. Everything is in float32, the products summed one after the other
    and rounded once each, as PyTorch does it: whoever truncates to whole numbers
    afterwards gets its whole numbers, which a matrix product does not give.

    Attributes:
        height: rows afterwards.
        width: columns afterwards.
        antialias: whether pictures that shrink are averaged over.
    """

    height: int
    width: int
    antialias: bool = True

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Resizes.

        Args:
            pictures: float32 (..., H, W, C).

        Returns:
            float32 (..., height, width, C); as given, where that is the
            size.
        """
        for axis, after in ((-2, self.width), (-3, self.height)):
            if pictures.shape[axis] != after or self.antialias:
                taps = _taps(pictures.shape[axis], after, self.antialias)
                pictures = _weighted(pictures, axis, *taps)
        return pictures


@functools.lru_cache(maxsize=64)
def _taps(before: int, after: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where each new row or column comes from: places and weights, (taps, after)."""
    number = np.float32
    scale = number(before) / number(after)
    width = max(scale, number(1)) if antialias else number(1)
    centres = scale * (np.arange(after, dtype=number) + number(0.5))
    if not antialias:
        # Clamped, so that the first and the last picture element are repeated.
        centres = np.maximum(centres, number(0.5))
    first = np.maximum((centres - width + number(0.5)).astype(np.int32), 0)
    end = np.minimum((centres + width + number(0.5)).astype(np.int32), before)
    taps = np.arange((end - first).max(), dtype=np.int32)[:, None]
    places = first + taps
    away = places.astype(number) - centres + number(0.5)
    weights = np.maximum(number(1) - np.abs(away * (number(1) / width)), number(0))
    weights[places >= end] = 0
    # In order, as the original adds them up.
    total = functools.reduce(np.add, weights)
    return np.minimum(places, before - 1), weights / total


def _weighted(
    pictures: jax.Array, axis: int, places: np.ndarray, weights: np.ndarray
) -> jax.Array:
    """The weighted sum over taps, along rows (-3) or columns (-2)."""
    total = None
    for place, weight in zip(places, weights, strict=True):
        part = jnp.take(pictures, place, axis=axis)
        factor = weight.reshape(*(1,) * (part.ndim + axis), -1, *(1,) * (-axis - 1))
        total = part * factor if total is None else fused(total, part, factor)
    assert total is not None
    return total


def fused(total: jax.Array, x: jax.Array, factor: np.ndarray | jax.Array) -> jax.Array:
    """``total + x * factor``, rounded once.

    As processors' fused instruction does it, which PyTorch's build uses and XLA, on
    CPUs, does not. Of what is lost in the product and in the sum, in float32 without
    it, nothing is: both are kept beside the results and added at the end.

    Args:
        total: float32.
        x: float32, broadcastable with it.
        factor: float32, likewise.

    Returns:
        float32.
    """
    product = x * factor
    # Halves of 12 bits, whose products are exact.
    upper, factor_upper = _upper(x), _upper(factor)
    lower, factor_lower = x - upper, factor - factor_upper
    of_product = upper * factor_upper - product
    of_product = of_product + upper * factor_lower + lower * factor_upper
    of_product = of_product + lower * factor_lower
    sum_ = total + product
    second = sum_ - total
    of_sum = (total - (sum_ - second)) + (product - second)
    return sum_ + (of_sum + of_product)


def _upper(x: Any) -> Any:
    """The upper 12 of the 24 bits that a float32 has."""
    if isinstance(x, np.ndarray):
        return (x.view(np.int32) & ~0xFFF).view(np.float32)
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jax.lax.bitcast_convert_type(bits & ~0xFFF, jnp.float32)
