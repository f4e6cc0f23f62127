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


def rounded_timestep_embedding(t: jax.Array, features: int) -> jax.Array:
    """The same sinusoids with angles as float32 rounds them.

    Near 1000 an angle is off by up to 3e-5. FLUX is trained with these, and diffusers
    computes them so.

    Args:
        t: (...) timesteps.
        features: width of the embedding, even.

    Returns:
        (..., features) float32.
    """
    half = features // 2
    exponents = np.float32(-np.log(1e4)) * np.arange(half, dtype=np.float32)
    frequency = np.exp(exponents / np.float32(half))
    t = t.astype(jnp.float32)[..., None]
    # Told to be a product: fused into the cosine it would not be rounded.
    angles = jax.lax.optimization_barrier(t * beside(frequency, t))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
