"""One transformer block, modulated by timestep and label."""

from __future__ import annotations

import jax
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.linear import MLP, Linear
from ...layers.modulation import modulate, modulations
from .attention import SelfAttention
from .config import DiTConfig

EPS = 1e-6
"""Added to the variance in all normalisations."""


class Block(nnx.Module):
    """Self-attention and feed-forward, each with a residual and a gate.

    Attributes:
        attn: over the sample's tokens.
        mlp: feed-forward.
        modulation: condition to shift, scale and gate of the attention, then to those
            of the feed-forward.
    """

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        # Zero gates make a fresh block the identity ("adaLN-Zero").
        zeros = nnx.initializers.zeros_init()
        dim = config.hidden_size
        self.attn = SelfAttention(config, rngs=rngs)
        self.mlp = MLP(dim, config.mlp_width, dim, activation=gelu_tanh, rngs=rngs)
        self.modulation = Linear(dim, 6 * dim, rngs=rngs, init=zeros)

    def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
        """Applies the block.

        Args:
            x: (B, S, D) tokens.
            c: (B, D) condition: timestep and label.

        Returns:
            Tokens like ``x``.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulations(self.modulation, c)
        x = x + gate1 * self.attn(modulate(x, shift1, scale1, EPS))
        return x + gate2 * self.mlp(modulate(x, shift2, scale2, EPS))

    def modulated(self, x: jax.Array, c: jax.Array) -> jax.Array:
        """What the attention of this block is shown; arguments as in `__call__`."""
        shift, scale, *_ = modulations(self.modulation, c)
        return modulate(x, shift, scale, EPS)
