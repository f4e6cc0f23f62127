"""Attention of all tokens of a sample to each other."""

from __future__ import annotations

import jax
from flax import nnx

from ...layers.attention import attend
from ...layers.linear import Linear
from .config import DiTConfig


class SelfAttention(nnx.Module):
    """Multi-head attention, queries, keys and values in one projection.

    Attributes:
        qkv: D to 3 * D: queries, keys and values, each head by head.
        proj: D to D.
        num_heads: heads.
    """

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        dim = config.hidden_size
        self.qkv = Linear(dim, 3 * dim, rngs=rngs)
        self.proj = Linear(dim, dim, rngs=rngs)
        self.num_heads = config.num_heads

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens (B, S, D) to as many."""
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        q, k, v = heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]
        return self.proj(attend(q, k, v, "xla").reshape(x.shape))
