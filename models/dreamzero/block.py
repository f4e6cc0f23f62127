"""One transformer block, modulated by the timestep of each token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .attention import Context, CrossAttention, KeysValues, SelfAttention
from .config import DreamZeroConfig
from .layers import MLP, LayerNorm, gelu_tanh, layer_norm
from .rope import Rotation

Spans = tuple[tuple[int, int], ...]
"""Groups of timesteps: how many there are, and how many tokens each one has."""


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

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        # Zero gates make a fresh block a near-identity ("adaLN-Zero").
        self.modulation = nnx.Param(jnp.zeros((6, config.dim)))
        self.self_attn = SelfAttention(config, rngs=rngs)
        self.norm3 = LayerNorm(config.dim, config.eps)
        self.cross_attn = CrossAttention(config, rngs=rngs)
        self.ffn = MLP(
            config.dim, config.ffn_dim, config.dim, activation=gelu_tanh, rngs=rngs
        )
        self.eps = config.eps

    def __call__(
        self,
        x: jax.Array,
        modulation: jax.Array,
        rotation: Rotation,
        context: Context,
        cached: KeysValues | None,
        mask: jax.Array,
        *,
        spans: Spans,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the block.

        Args:
            x: (B, L, D) tokens.
            modulation: (B, rows, 6, D), one row for each timestep.
            rotation: of the tokens.
            context: of this layer.
            cached: keys and values of earlier frames, of this layer, or None.
            mask: (B or 1, 1, 1 or L, K + L) bool.
            spans: which tokens each row of ``modulation`` is for.

        Returns:
            Tokens like ``x``, and their keys and values.
        """
        added = self.modulation.get_value()
        m = modulation + added.astype(modulation.dtype)
        gate1, shift2, scale2, gate2 = (
            per_token(m[:, :, j], spans) for j in range(2, 6)
        )
        u = modulated_input(x, modulation, added, spans, self.eps)
        y, new = self.self_attn(u, rotation, cached, mask)
        x = x + y * gate1
        x = x + self.cross_attn(self.norm3(x), context)
        u = layer_norm(x, self.eps) * (1 + scale2) + shift2
        x = x + self.ffn(u) * gate2
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
    m = modulation[:, :, :2] + added[:2].astype(modulation.dtype)
    shift, scale = (per_token(m[:, :, j], spans) for j in range(2))
    return layer_norm(x, eps) * (1 + scale) + shift


def per_token(rows: jax.Array, spans: Spans) -> jax.Array:
    """Spreads what depends on the timestep over the tokens.

    Few distinct timesteps occur, so what depends on them is computed once for each
    and not for every token.

    Args:
        rows: (B, rows, D).
        spans: the tokens of each row, in order.

    Returns:
        (B, tokens, D), or (B, 1, D) where one row serves all of them.
    """
    if rows.shape[1] == 1:
        return rows
    batch, _, dim = rows.shape
    parts, first = [], 0
    for count, tokens in spans:
        part = rows[:, first : first + count, None]
        part = jnp.broadcast_to(part, (batch, count, tokens, dim))
        parts.append(part.reshape(batch, count * tokens, dim))
        first += count
    return jnp.concatenate(parts, axis=1)
