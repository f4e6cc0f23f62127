"""Pictures of any size as the network takes them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

_BLACK = -1.0


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
    if picture.shape[1:3] == (size, size):
        return wide
    return _between_bars(jnp.clip(_resized(wide, size), -1.0, 1.0), size, _BLACK)


@functools.partial(jax.jit, static_argnums=1)
def as_sent(picture: jax.Array, size: int) -> jax.Array:
    """The same of whole numbers, as openpi's server does before the network.

    Args:
        picture: uint8 (B, H, W, 3).
        size: rows, and columns, that are wanted.

    Returns:
        uint8 (B, size, size, 3).
    """
    if picture.shape[1:3] == (size, size):
        return picture
    small = jnp.clip(jnp.round(_resized(picture.astype(jnp.float32), size)), 0, 255)
    return _between_bars(small, size, 0).astype(jnp.uint8)


def _resized(picture: jax.Array, size: int) -> jax.Array:
    """The longer of its sides is of that size; that of the other is rounded down."""
    height, width = picture.shape[1:3]
    ratio = max(width / size, height / size)
    rows, columns = max(1, int(height / ratio)), max(1, int(width / ratio))
    return jax.image.resize(picture, (len(picture), rows, columns, 3), "linear")


def _between_bars(picture: jax.Array, size: int, black: float) -> jax.Array:
    rows, columns = picture.shape[1:3]
    above, beside = (size - rows) // 2, (size - columns) // 2
    bars = (above, size - rows - above), (beside, size - columns - beside)
    return jnp.pad(picture, ((0, 0), *bars, (0, 0)), constant_values=black)
