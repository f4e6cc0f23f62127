"""The normalisation of channels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.features import beside
from ...layers.precision import at_least_float32

# Of a vector's length, below which it is not made longer.
_SHORTEST = 1e-12


class ChannelNorm(nnx.Module):
    """Gives the channels of each place length sqrt(C), then a learned scale.

    Attributes:
        scale: (C,).
    """

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis of ``x``; lengths are taken in float32 at least."""
        wide = at_least_float32(x)
        length = jnp.linalg.norm(wide, axis=-1, keepdims=True)
        factor = math.sqrt(x.shape[-1]) / jnp.maximum(length, _SHORTEST)
        return (wide * factor).astype(x.dtype) * beside(self.scale.get_value(), x)
