"""Relative positions: which of a few kinds the distance between two tokens is of.

After T5 (Raffel et al. 2020): short distances have a kind each, longer ones share kinds
by their logarithm. Each layer of UMT5 has a table of its own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .config import UMT5Config


def buckets(config: UMT5Config, distances: np.ndarray) -> np.ndarray:
    """The kind of each distance; on the host, for lengths are static.

    Logarithms are rounded to float32 before the division, as the original's are, so
    that distances at the border of two kinds are of the same one.

    Args:
        config: the encoder's.
        distances: int array, the key's position minus the query's.

    Returns:
        int32 array like it, in [0, num_buckets).
    """
    half = config.num_buckets // 2
    exact = half // 2
    far = np.abs(distances)
    # Those below `exact` are not asked.
    ratio = np.maximum(far, exact) / exact
    grown = np.log(ratio).astype(np.float32)
    whole = np.float32(np.log(config.max_dist / exact))
    share = (grown / whole * np.float32(half - exact)).astype(np.int32)
    kind = np.where(far < exact, far, np.minimum(exact + share, half - 1))
    return (np.where(distances > 0, half, 0) + kind).astype(np.int32)


def position_bias(config: UMT5Config, table: jax.Array, length: int) -> jax.Array:
    """What one layer adds to its attention's logits.

    Args:
        config: the encoder's.
        table: (num_buckets, heads) of the layer.
        length: tokens of a sequence.

    Returns:
        (1, heads, length, length) float32.
    """
    kinds = buckets(config, np.arange(1 - length, length))
    by_distance = table.astype(jnp.float32)[kinds].T
    place = jnp.arange(length)
    which = place[None, :] - place[:, None] + (length - 1)
    return jnp.take(by_distance, which, axis=1)[None]
