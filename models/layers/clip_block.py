"""One block of CLIP's encoders, of pictures and of texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from .attention import attend, split_heads
from .linear import MLP, Linear
from .norms import LayerNorm


class ClipSizes(NamedTuple):
    """The sizes of a block.

    Attributes:
        dim: width of the residual stream.
        mlp_width: of the feed-forward layers.
        num_heads: attention heads.
        eps: added to the variances that normalisations divide by.
        activation: between the two maps of the feed-forward.
    """

    dim: int
    mlp_width: int
    num_heads: int
    eps: float
    activation: Callable[[jax.Array], jax.Array]


class ThreeLinear(nnx.Module):
    """Affine maps to queries, keys and values, side by side.

    An axis of three rather than three times as many columns, so that heads can be cut
    over devices.

    Attributes:
        kernel: (3, in, out).
        bias: (3, out).
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.xavier_uniform(batch_axis=0)
        self.kernel = nnx.Param(init(rngs.params(), (3, features, features)))
        self.bias = nnx.Param(jnp.zeros((3, features)))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Maps (B, L, in) to three of (B, L, out)."""
        kernel, bias = (p.get_value().astype(x.dtype) for p in (self.kernel, self.bias))
        y = jnp.einsum("bld,cde->blce", x, kernel) + bias[None, None]
        q, k, v = (y[:, :, i] for i in range(3))
        return q, k, v


class Attention(nnx.Module):
    """Attention of tokens to all, or to those that a mask shows.

    Attributes:
        qkv: to queries, keys and values.
        proj: from the heads.
        num_heads: heads.
    """

    def __init__(self, sizes: ClipSizes, *, rngs: nnx.Rngs):
        self.qkv = ThreeLinear(sizes.dim, rngs=rngs)
        self.proj = Linear(sizes.dim, sizes.dim, rngs=rngs)
        self.num_heads = sizes.num_heads

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Maps (B, L, dim) to (B, L, dim); see `attend` for the mask."""
        q, k, v = (split_heads(y, self.num_heads) for y in self.qkv(x))
        return self.proj(attend(q, k, v, None, mask).reshape(x.shape))


class Block(nnx.Module):
    """Attention and feed-forward, each of the normalised stream and added to it.

    Attributes:
        norm1: before the attention.
        attn: the attention.
        norm2: before the feed-forward.
        mlp: the feed-forward.
    """

    def __init__(self, sizes: ClipSizes, *, rngs: nnx.Rngs):
        dim, activation = sizes.dim, sizes.activation
        self.norm1 = LayerNorm(dim, sizes.eps)
        self.attn = Attention(sizes, rngs=rngs)
        self.norm2 = LayerNorm(dim, sizes.eps)
        self.mlp = MLP(dim, sizes.mlp_width, dim, activation=activation, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Applies the block to (B, L, dim); see `attend` for the mask."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))
