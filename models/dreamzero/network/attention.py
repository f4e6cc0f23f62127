"""Self-attention over the window and cross-attention to the prompt."""

from __future__ import annotations

from typing import NamedTuple

import jax
from flax import nnx

from ...layers.attention import KeysValues, attend, split_heads
from ...layers.linear import Linear
from ...layers.norms import RMSNorm
from ...layers.rotary import Rotation, rotate
from ...layers.spread import ALONE, Spread
from ...layers.stack import run_stack
from ...layers.window_attention import Seen, attend_window
from .config import DreamZeroConfig


class Context(NamedTuple):
    """What every block attends to of the prompt, computed once per prompt.

    Attributes:
        text: keys and values (layers, B, text_len, heads, head_dim), or
            `Layers`.
        image: those of the image tokens, or None without an image branch.
    """

    text: KeysValues
    image: KeysValues | None


class SelfAttention(nnx.Module):
    """Attention of the new tokens to the window's frames and to themselves.

    Attributes:
        q: query projection; ``k``, ``v`` and ``o`` are key, value and output.
        norm_q: of the queries over all heads together; ``norm_k`` of the keys.
        num_heads: heads.
        kernel: see `attend`.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        dim = config.dim
        self.q = Linear(dim, dim, rngs=rngs)
        self.k = Linear(dim, dim, rngs=rngs)
        self.v = Linear(dim, dim, rngs=rngs)
        self.o = Linear(dim, dim, rngs=rngs)
        self.norm_q = RMSNorm(dim, config.eps, rotated=True)
        self.norm_k = RMSNorm(dim, config.eps, rotated=True)
        self.num_heads = config.num_heads
        self.kernel = config.attention

    def __call__(
        self,
        x: jax.Array,
        rotation: Rotation,
        cached: KeysValues | None,
        seen: Seen,
    ) -> tuple[jax.Array, KeysValues]:
        """Attends.

        Args:
            x: (B, L, D) new tokens.
            rotation: of the new tokens.
            cached: keys and values (B, K, heads, head_dim) of earlier frames; None
                where there are none (K = 0).
            seen: the keys that a query attends to.

        Returns:
            (B, L, D), and keys and values of the new tokens.
        """
        q = rotate(split_heads(self.norm_q(self.q(x)), self.num_heads), rotation)
        k = rotate(split_heads(self.norm_k(self.k(x)), self.num_heads), rotation)
        v = split_heads(self.v(x), self.num_heads)
        if cached is None:
            y = attend(q, k, v, self.kernel, seen.mask)
        else:
            y = attend_window(q, KeysValues(k, v), cached, seen, self.kernel)
        return self.o(y.reshape(x.shape)), KeysValues(k, v)


class KeyValueProjection(nnx.Module):
    """Keys and values of context tokens.

    Attributes:
        k: key projection.
        v: value projection.
        norm_k: of the keys over all heads together.
        num_heads: heads.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        self.k = Linear(config.dim, config.dim, rngs=rngs)
        self.v = Linear(config.dim, config.dim, rngs=rngs)
        self.norm_k = RMSNorm(config.dim, config.eps)
        self.num_heads = config.num_heads

    def __call__(self, tokens: jax.Array) -> KeysValues:
        """Maps (B, tokens, D) to keys and values (B, tokens, heads, head_dim)."""
        k = split_heads(self.norm_k(self.k(tokens)), self.num_heads)
        return KeysValues(k, split_heads(self.v(tokens), self.num_heads))


class CrossAttention(nnx.Module):
    """Attention to text and image; both share the queries, their results add up.

    Attributes:
        q: query projection.
        norm_q: of the queries over all heads together.
        text: keys and values of the text tokens.
        image: those of the image tokens, or None without an image branch.
        o: output projection.
        num_heads: heads.
        kernel: see `attend`.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        with_image = config.image_dim is not None
        self.q = Linear(config.dim, config.dim, rngs=rngs)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.text = KeyValueProjection(config, rngs=rngs)
        self.image = KeyValueProjection(config, rngs=rngs) if with_image else None
        self.o = Linear(config.dim, config.dim, rngs=rngs)
        self.num_heads = config.num_heads
        self.kernel = config.attention

    def __call__(self, x: jax.Array, context: Context) -> jax.Array:
        """Maps tokens (B, L, D) to (B, L, D), given this layer's context."""
        q = split_heads(self.norm_q(self.q(x)), self.num_heads)
        y = attend(q, *context.text, self.kernel)
        if context.image is not None:
            y = y + attend(q, *context.image, self.kernel)
        return self.o(y.reshape(x.shape))


def per_layer(
    projection: KeyValueProjection, tokens: jax.Array, spread: Spread = ALONE
) -> KeysValues:
    """Keys and values that every layer's projection makes of the same tokens."""
    graph, layers = nnx.split(projection)

    def layer(_, state):
        made = nnx.merge(graph, spread.gather(state))(spread.pin(tokens))
        return None, spread.pin(made)

    return run_stack(layer, None, layers)[1]
