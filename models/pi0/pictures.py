"""Pictures of any size as the network takes them."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def as_seen(picture: jax.Array, size: int) -> jax.Array:
    """Makes pictures square, without changing what is on them.

    Args:
        picture: (B, H, W, 3) uint8, or floats in [-1, 1].
        size: rows, and columns, that are wanted.

    Returns:
        (B, size, size, 3) float32 in [-1, 1]: resized as a whole, linearly and
        antialiased, between black bars.
    """
    wide = picture.astype(jnp.float32)
    if picture.dtype == jnp.uint8:
        wide = wide / 255.0 * 2.0 - 1.0
    height, width = picture.shape[1:3]
    if (height, width) == (size, size):
        return wide
    ratio = max(width / size, height / size)
    rows, columns = max(1, int(height / ratio)), max(1, int(width / ratio))
    shape = (len(picture), rows, columns, 3)
    small = jnp.clip(jax.image.resize(wide, shape, "linear"), -1.0, 1.0)
    above, beside = (size - rows) // 2, (size - columns) // 2
    bars = (
        (0, 0),
        (above, size - rows - above),
        (beside, size - columns - beside),
        (0, 0),
    )
    return jnp.pad(small, bars, constant_values=-1.0)
