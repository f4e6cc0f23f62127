"""Affine maps, alone and two after one another."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from .adapters import Adapter
from .features import beside

_XAVIER = nnx.initializers.xavier_uniform()


class Linear(nnx.Module):
    """An affine map of the last axis.

    The product is taken in two dimensions: on a CPU the gradients of a product
    with more took twice as long.

    Attributes:
        kernel: (in, out).
        bias: (out,), or None.
        adapter: what is trained beside a frozen kernel, or None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rngs: nnx.Rngs,
        init: nnx.Initializer = _XAVIER,
        use_bias: bool = True,
    ):
        self.kernel = nnx.Param(init(rngs.params(), (in_features, out_features)))
        bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.bias: nnx.Param | None = nnx.data(bias)
        self.adapter: Adapter | None = nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., in) to (..., out) in the dtype of ``x``."""
        kernel = self.kernel.get_value().astype(x.dtype)
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = rows @ kernel
        if self.bias is not None:
            y = y + beside(self.bias.get_value(), rows)
        if self.adapter is not None:
            y = y + self.adapter(rows)
        return y.reshape(*x.shape[:-1], kernel.shape[-1])


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
