"""One block of a vision transformer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_erf
from ...layers.attention import attend, split_heads
from ...layers.linear import MLP, Linear
from ...layers.norms import LayerNorm
from .config import CLIPVisionConfig


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
    """Attention of all tokens to all.

    Attributes:
        qkv: to queries, keys and values.
        proj: from the heads.
        num_heads: heads.
    """

    def __init__(self, config: CLIPVisionConfig, *, rngs: nnx.Rngs):
        self.qkv = ThreeLinear(config.dim, rngs=rngs)
        self.proj = Linear(config.dim, config.dim, rngs=rngs)
        self.num_heads = config.num_heads

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, L, dim) to (B, L, dim)."""
        q, k, v = (split_heads(y, self.num_heads) for y in self.qkv(x))
        return self.proj(attend(q, k, v, None).reshape(x.shape))


class Block(nnx.Module):
    """Attention and feed-forward, each of the normalised stream and added to it.

    Attributes:
        norm1: before the attention.
        attn: the attention.
        norm2: before the feed-forward.
        mlp: the feed-forward.
    """

    def __init__(self, config: CLIPVisionConfig, *, rngs: nnx.Rngs):
        self.norm1 = LayerNorm(config.dim, config.eps)
        self.attn = Attention(config, rngs=rngs)
        self.norm2 = LayerNorm(config.dim, config.eps)
        self.mlp = MLP(
            config.dim, config.mlp_width, config.dim, activation=gelu_erf, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to (B, L, dim)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
