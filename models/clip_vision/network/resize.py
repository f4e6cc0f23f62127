"""Pictures of any size to the one that the encoder takes: PyTorch's bicubic resize.

Without antialiasing, as the original has it, each pixel that is made is a sum of
sixteen; so the resize is two products with matrices that have four numbers in a row.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

# The parameter of the cubic convolution (Keys 1981) that PyTorch has.
_A = -0.75
# Means and deviations of red, green and blue that CLIP was trained with.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def resize(pictures: jax.Array, size: int) -> jax.Array:
    """Resizes pictures to squares; their aspect is not kept.

    Args:
        pictures: (B, H, W, C) floats.
        size: rows and columns to make.

    Returns:
        (B, size, size, C) float32. Values may leave the range of those given.
    """
    rows, columns = (taps(length, size) for length in pictures.shape[1:3])
    # On a GPU in full precision, for a product of two rounds to more than a level.
    return jnp.einsum(
        "yh,bhwc,xw->byxc",
        rows,
        pictures.astype(jnp.float32),
        columns,
        precision=jax.lax.Precision.HIGHEST,
    )


def normalised(pictures: jax.Array) -> jax.Array:
    """Gives pictures (..., 3) in [-1, 1] the means and deviations of CLIP's."""
    mean, std = (
        jnp.asarray(row, pictures.dtype).reshape(*(1,) * (pictures.ndim - 1), 3)
        for row in (MEAN, STD)
    )
    return (pictures * 0.5 + 0.5 - mean) / std


@functools.lru_cache(maxsize=64)
def taps(length: int, size: int) -> np.ndarray:
    """What each pixel of the result takes of those along one axis.

    Half-pixel centres; beyond an edge its pixel is repeated.

    Args:
        length: pixels that there are.
        size: pixels to make.

    Returns:
        (size, length) float32; each row sums to 1.
    """
    place = (np.arange(size) + 0.5) * (length / size) - 0.5
    below = np.floor(place)
    made = np.zeros((size, length))
    for offset in range(-1, 3):
        source = np.clip(below + offset, 0, length - 1).astype(int)
        np.add.at(
            made, (np.arange(size), source), _cubic(np.abs(place - below - offset))
        )
    return made.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """The weight of a pixel at a distance, in pixels, below 2."""
    x = distance
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, far)
