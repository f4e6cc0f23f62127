"""One transformer block, modulated by timestep and label."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ..dreamzero.layers import MLP, Linear, gelu_tanh, layer_norm
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
        x = x + gate1 * self.attn(modulate(x, shift1, scale1))
        return x + gate2 * self.mlp(modulate(x, shift2, scale2))

    def modulated(self, x: jax.Array, c: jax.Array) -> jax.Array:
        """What the attention of this block is shown; arguments as in `__call__`."""
        shift, scale, *_ = modulations(self.modulation, c)
        return modulate(x, shift, scale)


def modulations(projection: Linear, c: jax.Array) -> list[jax.Array]:
    """Projects the condition (B, D) to arrays (B, 1, D), as many as there are."""
    said = projection(jax.nn.silu(c))
    return jnp.split(said[:, None], said.shape[-1] // c.shape[-1], axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Normalises tokens (B, S, D), then scales and shifts them."""
    return layer_norm(x, EPS) * (1 + scale) + shift
