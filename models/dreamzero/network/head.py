"""Tokens as patches of velocity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.linear import Linear
from ...layers.modulation import modulate, per_token
from .config import DreamZeroConfig


class Head(nnx.Module):
    """Video tokens as patches of velocity.

    Attributes:
        modulation: (2, D) shift and scale, added to the time embedding.
        proj: D to the values of a patch.
        eps: of the normalisation.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.modulation = nnx.Param(jnp.zeros((2, config.dim)))
        self.proj = Linear(config.dim, config.patch_dim, rngs=rngs, init=zeros)
        self.eps = config.eps

    def __call__(self, x: jax.Array, e: jax.Array) -> jax.Array:
        """Maps tokens to patches.

        Args:
            x: (B, S, D).
            e: (B, frames, D) time embedding of the frames, or (B, 1, D) for all.

        Returns:
            (B, S, values of a patch).
        """
        m = e[:, :, None] + self.modulation.get_value().astype(e.dtype)[None, None]
        spans = ((e.shape[1], x.shape[1] // e.shape[1]),)
        shift, scale = per_token(m[:, :, 0], spans), per_token(m[:, :, 1], spans)
        return self.proj(modulate(x, shift, scale, self.eps))
