"""The precision that statistics are taken in, and velocities are given in."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """An array in float32, or wider if it is."""
    # Asked for, whatever promotion of dtypes is allowed without.
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
