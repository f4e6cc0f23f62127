"""Queries, keys and values of FLUX's tokens."""

from __future__ import annotations

import jax
from flax import nnx

from ...layers.attention import split_heads
from ...layers.linear import Linear
from ...layers.norms import RMSNorm
from ..sizes import FluxConfig

EPS = 1e-6
"""Added to the variance, or mean square, in all normalisations."""


class Projections(nnx.Module):
    """Tokens to heads of queries, keys and values, the first two normalised.

    Attributes:
        q: query projection; ``k`` and ``v`` are those of keys and values.
        norm_q: of each head's queries; ``norm_k`` of its keys.
        num_heads: heads.
    """

    def __init__(self, config: FluxConfig, *, rngs: nnx.Rngs):
        dim = config.dim
        self.q = Linear(dim, dim, rngs=rngs)
        self.k = Linear(dim, dim, rngs=rngs)
        self.v = Linear(dim, dim, rngs=rngs)
        self.norm_q = RMSNorm(config.attention_head_dim, EPS, rotated=True)
        self.norm_k = RMSNorm(config.attention_head_dim, EPS, rotated=True)
        self.num_heads = config.num_attention_heads

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Maps (B, L, D) to three arrays (B, L, heads, head_dim)."""
        q, k, v = (split_heads(f(x), self.num_heads) for f in (self.q, self.k, self.v))
        return self.norm_q(q), self.norm_k(k), v
