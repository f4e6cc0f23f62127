"""Tokens as patches of velocity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .linear import Linear
from .modulation import Spans, modulate, per_token
from .video_sizes import VideoSizes


class Head(nnx.Module):
    """Video tokens as patches of velocity.

    Attributes:
        modulation: (2, D) shift and scale, added to the time embedding.
        proj: D to the values of a patch.
        eps: of the normalisation.
    """

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.modulation = nnx.Param(jnp.zeros((2, sizes.dim)))
        self.proj = Linear(sizes.dim, sizes.patch_out, rngs=rngs, init=zeros)
        self.eps = sizes.eps

    def __call__(
        self, x: jax.Array, e: jax.Array, spans: Spans | None = None
    ) -> jax.Array:
        """Maps tokens to patches.

        Args:
            x: (B, S, D).
            e: (B, rows, D) time embedding: of the frames, or one row for all.
            spans: which tokens each row is for; as many each unless given.

        Returns:
            (B, S, values of a patch).
        """
        m = e[:, :, None] + self.modulation.get_value().astype(e.dtype)[None, None]
        spans = spans or ((e.shape[1], x.shape[1] // e.shape[1]),)
        shift, scale = per_token(m[:, :, 0], spans), per_token(m[:, :, 1], spans)
        return self.proj(modulate(x, shift, scale, self.eps))
