"""One transformer block, modulated by the timestep of each token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .activations import gelu_tanh
from .attention import KeysValues
from .linear import MLP
from .modulation import Spans, gated, modulate, per_token
from .norms import LayerNorm
from .prompt_attention import Context, CrossAttention
from .rotary import Rotation
from .video_self_attention import SelfAttention
from .video_sizes import VideoSizes
from .window_attention import Seen


class Block(nnx.Module):
    """Self-attention, cross-attention and feed-forward, each with a residual.

    Attributes:
        modulation: (6, D) added to the timestep's; shift, scale and gate of the
            self-attention, then those of the feed-forward.
        self_attn: over the window.
        norm3: before the cross-attention.
        cross_attn: to the prompt; it has neither shift nor gate.
        ffn: feed-forward.
        eps: of the normalisations.
    """

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        # Zero gates make a fresh block a near-identity ("adaLN-Zero").
        self.modulation = nnx.Param(jnp.zeros((6, sizes.dim)))
        self.self_attn = SelfAttention(sizes, rngs=rngs)
        self.norm3 = LayerNorm(sizes.dim, sizes.eps)
        self.cross_attn = CrossAttention(sizes, rngs=rngs)
        self.ffn = MLP(
            sizes.dim, sizes.ffn_dim, sizes.dim, activation=gelu_tanh, rngs=rngs
        )
        self.eps = sizes.eps

    def __call__(
        self,
        x: jax.Array,
        modulation: jax.Array,
        rotation: Rotation,
        context: Context,
        cached: KeysValues | None,
        seen: Seen | None,
        *,
        spans: Spans,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the block.

        Args:
            x: (B, L, D) tokens.
            modulation: (B, rows, 6, D), one row for each timestep. What is scaled and
                added by it is so in its dtype.
            rotation: of the tokens.
            context: of this layer.
            cached: keys and values of earlier frames, of this layer, or None.
            seen: the keys that a token attends to; all of them unless given.
            spans: which tokens each row of ``modulation`` is for.

        Returns:
            Tokens like ``x``, and their keys and values.
        """
        added = self.modulation.get_value()
        m = modulation + added.astype(modulation.dtype)[None, None]
        gate1, shift2, scale2, gate2 = (
            per_token(m[:, :, j], spans) for j in range(2, 6)
        )
        u = modulated_input(x, modulation, added, spans, self.eps)
        y, new = self.self_attn(u, rotation, cached, seen)
        x = gated(x, y, gate1)
        u = self.norm3(x.astype(m.dtype)).astype(x.dtype)
        x = x + self.cross_attn(u, context)
        y = self.ffn(modulate(x, shift2, scale2, self.eps))
        x = gated(x, y, gate2)
        return x, new


def modulated_input(
    x: jax.Array, modulation: jax.Array, added: jax.Array, spans: Spans, eps: float
) -> jax.Array:
    """Normalises tokens, and scales and shifts them by their timestep.

    Args:
        x: (B, L, D) tokens.
        modulation: (B, rows, 6, D), one row for each timestep.
        added: (6, D) of a block.
        spans: which tokens each row of ``modulation`` is for.
        eps: of the normalisation.

    Returns:
        (B, L, D), what the block's self-attention sees.
    """
    m = modulation[:, :, :2] + added[None, None, :2].astype(modulation.dtype)
    shift, scale = (per_token(m[:, :, j], spans) for j in range(2))
    return modulate(x, shift, scale, eps)
