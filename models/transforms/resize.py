"""Pictures of another size: bilinear, with antialiasing or without."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Resize:
    """Bilinear with half-pixel centres, edges repeated, columns before rows.

    With antialiasing the triangle is as wide as the picture shrinks, and its weights
    are normalised. Everything is in float32 with the products summed one after the
    other, as torchvision does it: whoever truncates to whole numbers afterwards gets
    its whole numbers, which a matrix product does not give.

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
            pictures: floats (..., H, W, C).

        Returns:
            (..., height, width, C), in the same dtype; as given, where that is the
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
        factor = jnp.asarray(weight, pictures.dtype)
        factor = factor.reshape(*(1,) * (pictures.ndim + axis), -1, *(1,) * (-axis - 1))
        part = jnp.take(pictures, place, axis=axis) * factor
        total = part if total is None else total + part
    assert total is not None
    return total
