"""Pictures of whole numbers resized in whole numbers, as OpenCV does it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_UNIT = 2048  # weights have 11 bits


@dataclass(frozen=True)
class ResizeFixedPoint:
    """Bilinear on uint8 without antialiasing, bit for bit OpenCV's ``INTER_LINEAR``.

    Rounding in float would differ from it by one level in an eighth of the values.

    Attributes:
        height: rows afterwards.
        width: columns afterwards.
    """

    height: int
    width: int

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Resizes.

        Args:
            pictures: uint8 (..., H, W, C).

        Returns:
            uint8 (..., height, width, C); as given, where that is the size.
        """
        before = pictures.shape[-3:-1]
        if before == (self.height, self.width):
            return pictures
        across = _weights(before[1], self.width, True)
        down = _weights(before[0], self.height, False)
        wide = pictures.astype(jnp.int32)
        # (..., H, width, C), with 11 bits of fraction.
        rows = (
            wide[..., across.first, :] * across.of_first[:, None]
            + wide[..., across.second, :] * across.of_second[:, None]
        )
        rows = rows >> 4
        # Each half is cut to 16 bits by itself, and only their sum is rounded.
        total = (rows[..., down.first, :, :] * down.of_first[:, None, None] >> 16) + (
            rows[..., down.second, :, :] * down.of_second[:, None, None] >> 16
        )
        return (total + 2 >> 2).astype(jnp.uint8)


class _Weights(NamedTuple):
    """Two neighbours of each new row or column, and how much each counts."""

    first: np.ndarray
    second: np.ndarray
    of_first: np.ndarray
    of_second: np.ndarray


@functools.lru_cache(maxsize=64)
def _weights(before: int, after: int, columns: bool) -> _Weights:
    places = (np.arange(after) + 0.5) * (before / after) - 0.5
    places = places.astype(np.float32)
    whole = np.floor(places).astype(np.int32)
    fraction = places - whole.astype(np.float32)
    if columns:
        # Of rows, OpenCV repeats the edge instead, and both halves are cut.
        fraction[(whole < 0) | (whole >= before - 1)] = 0
    unit = np.float32(_UNIT)
    return _Weights(
        np.clip(whole, 0, before - 1),
        np.clip(whole + 1, 0, before - 1),
        np.rint((np.float32(1) - fraction) * unit).astype(np.int32),
        np.rint(fraction * unit).astype(np.int32),
    )
