"""Tokens as patches of velocity."""

from __future__ import annotations

import jax
from flax import nnx

from ...layers.linear import Linear
from ...layers.modulation import modulate, modulations
from .block import EPS
from .config import DiTConfig


class Head(nnx.Module):
    """The last normalisation, modulated, and the projection to patches.

    Attributes:
        modulation: condition to shift and scale.
        proj: D to the values of a patch.
    """

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        # A fresh model predicts zero.
        zeros = nnx.initializers.zeros_init()
        dim = config.hidden_size
        values = config.patch_size**2 * config.out_channels
        self.modulation = Linear(dim, 2 * dim, rngs=rngs, init=zeros)
        self.proj = Linear(dim, values, rngs=rngs, init=zeros)

    def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
        """Maps tokens (B, S, D) and the condition (B, D) to (B, S, values)."""
        shift, scale = modulations(self.modulation, c)
        return self.proj(modulate(x, shift, scale, EPS))
