"""Normalisations of the last axis; their statistics are taken in float32 at least."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .features import beside
from .precision import at_least_float32


class LayerNorm(nnx.Module):
    """`layer_norm` with a learned scale and bias.

    Attributes:
        scale: (features,).
        bias: (features,).
        eps: added to the variance.
    """

    def __init__(self, features: int, eps: float):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis of ``x`` (..., features)."""
        y = layer_norm(x, self.eps)
        scale, bias = self.scale.get_value(), self.bias.get_value()
        return y * beside(scale, x) + beside(bias, x)


class RMSNorm(nnx.Module):
    """Division by the root mean square of the last axis, then a learned scale.

    Attributes:
        scale: (features,).
        eps: added to the mean square.
        rotated: whether what is normalised is then rotated.
    """

    def __init__(self, features: int, eps: float, rotated: bool = False):
        self.scale = nnx.Param(jnp.ones(features))
        self.eps = eps
        self.rotated = rotated

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis of ``x`` (..., features), in float32 at least."""
        wide = at_least_float32(x)
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        factor = jax.lax.rsqrt(mean_square + self.eps)
        if self.rotated:
            # Else XLA makes a GPU kernel of mean and product together, which writes
            # its result for the rotation to read; so, product and rotation are one.
            factor = jax.lax.optimization_barrier(factor)
        y = (wide * factor).astype(x.dtype)
        return y * beside(self.scale.get_value(), x)


def layer_norm(x: jax.Array, eps: float) -> jax.Array:
    """Gives the last axis mean 0 and variance 1, without learned parameters.

    Args:
        x: (..., features).
        eps: added to the variance.

    Returns:
        Array like ``x``; the statistics are taken in float32 at least.
    """
    wide = at_least_float32(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype)


class GroupNorm(nnx.Module):
    """Gives groups of channels, over all places, mean 0 and variance 1.

    Then come a learned scale and bias.

    Attributes:
        scale: (features,).
        bias: (features,).
        groups: how many; they divide the features.
        eps: added to the variance.
    """

    def __init__(self, features: int, groups: int, eps: float):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.groups, self.eps = groups, eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x`` (B, ..., features), in float32 at least."""
        wide = at_least_float32(x).reshape(len(x), -1, self.groups, self.each(x))
        centred = wide - wide.mean(axis=(1, 3), keepdims=True)
        variance = jnp.square(centred).mean(axis=(1, 3), keepdims=True)
        y = (centred * jax.lax.rsqrt(variance + self.eps)).astype(x.dtype)
        scale, bias = self.scale.get_value(), self.bias.get_value()
        return y.reshape(x.shape) * beside(scale, x) + beside(bias, x)

    def each(self, x: jax.Array) -> int:
        """Channels of a group."""
        return x.shape[-1] // self.groups
