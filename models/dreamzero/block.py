"""One transformer block, modulated by the timestep of each token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .attention import Context, CrossAttention, KeysValues, SelfAttention
from .config import DreamZeroConfig
from .layers import MLP, LayerNorm, gelu_tanh, layer_norm
from .rope import Rotation


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
        cached: KeysValues,
        mask: jax.Array,
        *,
        video_tokens: int,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the block.

        Args:
            x: (B, L, D) tokens, those of the video first.
            modulation: (B, rows, 6, D); see `per_token`.
            rotation: of the tokens.
            context: of this layer.
            cached: keys and values of earlier frames, of this layer.
            mask: (B, 1, 1, K + L) bool.
            video_tokens: how many of the tokens are video.

        Returns:
            Tokens like ``x``, and their keys and values.
        """
        m = modulation + self.modulation.get_value().astype(modulation.dtype)
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            per_token(m[:, :, j], x.shape[1], video_tokens) for j in range(6)
        )
        u = layer_norm(x, self.eps) * (1 + scale1) + shift1
        y, new = self.self_attn(u, rotation, cached, mask)
        x = x + y * gate1
        x = x + self.cross_attn(self.norm3(x), context)
        u = layer_norm(x, self.eps) * (1 + scale2) + shift2
        x = x + self.ffn(u) * gate2
        return x, new


def per_token(rows: jax.Array, tokens: int, video_tokens: int) -> jax.Array:
    """Spreads the values of two timesteps over the tokens.

    Only two timesteps occur, that of the video and that of actions and states,
    so what depends on them is computed for two rows and not for every token.

    Args:
        rows: (B, 1 or 2, D), for the video and for actions and states; one row
            serves all tokens.
        tokens: how many tokens there are.
        video_tokens: how many of them are video; they come first.

    Returns:
        (B, 1 or tokens, D).
    """
    if rows.shape[1] == 1:
        return rows
    is_video = (jnp.arange(tokens) < video_tokens)[None, :, None]
    return jnp.where(is_video, rows[:, :1], rows[:, 1:])
