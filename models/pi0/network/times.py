"""The time of a noise level as sinusoids."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_SHORTEST, _LONGEST = 4e-3, 4.0


def time_embedding(t: jax.Array, features: int) -> jax.Array:
    """Sinusoids of a time, [sin, cos](2 pi t / period), periods from 0.004 to 4.

    Args:
        t: float32[rows], 1 at the noise and 0 at the data.
        features: width of the embedding, even.

    Returns:
        (rows, features) float32.
    """
    # In float32, as the original: angles reach 1600, where rounding is seen.
    fraction = jnp.linspace(0.0, 1.0, features // 2, dtype=jnp.float32)
    period = _SHORTEST * (_LONGEST / _SHORTEST) ** fraction
    rate = 1.0 / period * 2 * np.pi
    angles = t.astype(jnp.float32)[:, None] * rate[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
