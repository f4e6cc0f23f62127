"""The forms of GELU, which differ by more than rounding."""

from __future__ import annotations

import jax


def gelu_erf(x: jax.Array) -> jax.Array:
    """The exact GELU."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """The tanh approximation of GELU."""
    return jax.nn.gelu(x, approximate=True)


def gelu_quick(x: jax.Array) -> jax.Array:
    """The sigmoid approximation of GELU, which CLIP is trained with."""
    return x * jax.nn.sigmoid(1.702 * x)
