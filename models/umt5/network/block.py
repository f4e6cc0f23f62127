"""One block: attention with relative positions, and a gated feed-forward."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.attention import split_heads
from ...layers.linear import Linear
from ...layers.norms import RMSNorm
from .config import UMT5Config
from .positions import position_bias


class Attention(nnx.Module):
    """Attention whose logits are not divided by the root of the heads' width.

    Attributes:
        q: to the queries; without bias, as all maps here.
        k: to the keys.
        v: to the values.
        o: from the heads.
        num_heads: heads.
    """

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs):
        dim, wide = config.dim, config.dim_attn
        self.q, self.k, self.v = (
            Linear(dim, wide, rngs=rngs, use_bias=False) for _ in range(3)
        )
        self.o = Linear(wide, dim, rngs=rngs, use_bias=False)
        self.num_heads = config.num_heads

    def __call__(self, x: jax.Array, bias: jax.Array, mask: jax.Array) -> jax.Array:
        """Attends; logits and softmax are float32 at least.

        Args:
            x: (B, L, dim).
            bias: (1, heads, L, L) float32, added to the logits.
            mask: (B, L) bool, the keys that are seen. Where a sequence has none, all
                count the same, as in the original.

        Returns:
            (B, L, dim).
        """
        q, k, v = (split_heads(f(x), self.num_heads) for f in (self.q, self.k, self.v))
        wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        logits = jnp.einsum("bihd,bjhd->bhij", q, k, preferred_element_type=wide)
        logits = logits + bias.astype(wide)
        lowest = jnp.finfo(jnp.float32).min
        logits = jnp.where(mask[:, None, None, :], logits, lowest)
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        y = jnp.einsum("bhij,bjhd->bihd", weights, v)
        return self.o(y.reshape(*x.shape[:-1], y.shape[-2] * y.shape[-1]))


class FeedForward(nnx.Module):
    """A gated feed-forward: one map times the GELU of another, and a map back.

    Attributes:
        gate: to the gates.
        fc1: to what is gated.
        fc2: back.
    """

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs):
        dim, wide = config.dim, config.dim_ffn
        self.gate, self.fc1 = (
            Linear(dim, wide, rngs=rngs, use_bias=False) for _ in range(2)
        )
        self.fc2 = Linear(wide, dim, rngs=rngs, use_bias=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, L, dim) to (B, L, dim)."""
        return self.fc2(self.fc1(x) * gelu_tanh(self.gate(x)))


class Block(nnx.Module):
    """Attention and feed-forward, each of the normalised stream and added to it.

    Attributes:
        norm1: before the attention.
        attn: the attention.
        norm2: before the feed-forward.
        ffn: the feed-forward.
        positions: (num_buckets, heads), see `position_bias`.
        config: the encoder's.
    """

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.02)
        self.norm1 = RMSNorm(config.dim, config.eps)
        self.attn = Attention(config, rngs=rngs)
        self.norm2 = RMSNorm(config.dim, config.eps)
        self.ffn = FeedForward(config, rngs=rngs)
        self.positions = nnx.Param(
            normal(rngs.params(), (config.num_buckets, config.num_heads))
        )
        self.config = config

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Applies the block to (B, L, dim), with a mask (B, L) bool of the keys."""
        bias = position_bias(self.config, self.positions.get_value(), x.shape[1])
        x = x + self.attn(self.norm1(x), bias, mask)
        return x + self.ffn(self.norm2(x))
