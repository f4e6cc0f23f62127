"""The small layers the transformer is built from."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

_XAVIER = nnx.initializers.xavier_uniform()


class Linear(nnx.Module):
    """An affine map of the last axis.

    The product is taken in two dimensions: on a CPU the gradients of a product
    with more took twice as long.

    Attributes:
        kernel: (in, out).
        bias: (out,).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rngs: nnx.Rngs,
        init: nnx.Initializer = _XAVIER,
    ):
        self.kernel = nnx.Param(init(rngs.params(), (in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., in) to (..., out) in the dtype of ``x``."""
        kernel = self.kernel.get_value().astype(x.dtype)
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = rows @ kernel + self.bias.get_value().astype(x.dtype)
        return y.reshape(*x.shape[:-1], kernel.shape[-1])


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
        return y * scale.astype(x.dtype) + bias.astype(x.dtype)


class RMSNorm(nnx.Module):
    """Division by the root mean square of the last axis, then a learned scale.

    Attributes:
        scale: (features,).
        eps: added to the mean square.
    """

    def __init__(self, features: int, eps: float):
        self.scale = nnx.Param(jnp.ones(features))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis of ``x`` (..., features), in float32 at least."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        y = (wide * jax.lax.rsqrt(mean_square + self.eps)).astype(x.dtype)
        return y * self.scale.get_value().astype(x.dtype)


class MLP(nnx.Module):
    """Two affine maps with an activation between them.

    Attributes:
        layer1: in to hidden.
        layer2: hidden to out.
        activation: between the two.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        activation: Callable[[jax.Array], jax.Array],
        rngs: nnx.Rngs,
        out_init: nnx.Initializer = _XAVIER,
    ):
        self.layer1 = Linear(in_features, hidden_features, rngs=rngs)
        self.layer2 = Linear(hidden_features, out_features, rngs=rngs, init=out_init)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., in) to (..., out)."""
        return self.layer2(self.activation(self.layer1(x)))


def layer_norm(x: jax.Array, eps: float) -> jax.Array:
    """Gives the last axis mean 0 and variance 1, without learned parameters.

    Args:
        x: (..., features).
        eps: added to the variance.

    Returns:
        Array like ``x``; the statistics are taken in float32 at least.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype)


def gelu_erf(x: jax.Array) -> jax.Array:
    """The exact GELU, as the image branch uses it."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """The tanh approximation of GELU, as text branch and blocks use it."""
    return jax.nn.gelu(x, approximate=True)
