"""A timestep as sinusoids."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .features import beside


def timestep_embedding(t: jax.Array, features: int) -> jax.Array:
    """Sinusoids of a timestep: [cos, sin](t * 1e4^(-k / half)).

    The angles reach 1000, where float32 has lost four digits of the fraction. So
    each frequency is split into a coarse part, whose product with a timestep of up
    to 10 bits is exact, and a small rest, and the two angles are added by the
    addition theorem. That reproduces double precision to 1e-7.

    Args:
        t: (...) timesteps in [0, 1000].
        features: width of the embedding, even.

    Returns:
        (..., features) float32.
    """
    half = features // 2
    frequency = 1e4 ** (-np.arange(half) / half)
    exponent = np.floor(np.log2(frequency))
    coarse = np.round(frequency * 2 ** (13 - exponent)) * 2 ** (exponent - 13)
    t = t.astype(jnp.float32)[..., None]
    a = t * beside(coarse, t)
    b = t * beside(frequency - coarse, t)
    cos = jnp.cos(a) * jnp.cos(b) - jnp.sin(a) * jnp.sin(b)
    sin = jnp.sin(a) * jnp.cos(b) + jnp.cos(a) * jnp.sin(b)
    return jnp.concatenate([cos, sin], axis=-1)
