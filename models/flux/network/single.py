"""A block that image and text share, attention and feed-forward side by side."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.attention import attend
from ...layers.linear import Linear
from ...layers.modulation import modulate, modulations
from ...layers.rotary import Rotation, rotate
from ..sizes import FluxConfig
from .attention import EPS, Projections


class SingleBlock(nnx.Module):
    """One residual with a gate.

    Attributes:
        modulation: time embedding to shift, scale and gate.
        attn: queries, keys and values.
        mlp: the first map of the feed-forward.
        out: what was attended to, and the feed-forward's hidden values, to tokens.
        kernel: see `attend`.
    """

    def __init__(self, config: FluxConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        dim, width = config.dim, config.mlp_width
        self.modulation = Linear(dim, 3 * dim, rngs=rngs, init=zeros)
        self.attn = Projections(config, rngs=rngs)
        self.mlp = Linear(dim, width, rngs=rngs)
        self.out = Linear(dim + width, dim, rngs=rngs)
        self.kernel = config.attention

    def __call__(
        self,
        x: jax.Array,
        temb: jax.Array,
        rotation: Rotation,
        attended: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Applies the block.

        Args:
            x: (B, T + S, D) tokens, the text's first.
            temb: (B, D) embedding of time, guidance and prompt.
            rotation: of the tokens.
            attended: what the attention says, like ``x``; it is computed unless given.

        Returns:
            Tokens like ``x``, and what the attention says.
        """
        shift, scale, gate = modulations(self.modulation, temb)
        u = modulate(x, shift, scale, EPS)
        if attended is None:
            q, k, v = self.attn(u)
            y = attend(rotate(q, rotation), rotate(k, rotation), v, self.kernel)
            attended = y.reshape(x.shape)
        both = jnp.concatenate([attended, gelu_tanh(self.mlp(u))], axis=-1)
        return x + gate * self.out(both), attended
