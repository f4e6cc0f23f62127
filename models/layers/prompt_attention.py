"""Cross-attention to a prompt, whose keys and values are made once."""

from __future__ import annotations

from typing import NamedTuple

import jax
from flax import nnx

from .attention import KeysValues, attend, split_heads
from .linear import Linear
from .norms import RMSNorm
from .spread import ALONE, Spread
from .stack import run_stack
from .video_sizes import VideoSizes


class Context(NamedTuple):
    """What every block attends to of the prompt, computed once per prompt.

    Attributes:
        text: keys and values (layers, B, tokens, heads, head_dim), or `Layers`.
        image: those of the image tokens, or None without an image branch.
    """

    text: KeysValues
    image: KeysValues | None


class KeyValueProjection(nnx.Module):
    """Keys and values of context tokens.

    Attributes:
        k: key projection.
        v: value projection.
        norm_k: of the keys over all heads together.
        num_heads: heads.
    """

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        self.k = Linear(sizes.dim, sizes.dim, rngs=rngs)
        self.v = Linear(sizes.dim, sizes.dim, rngs=rngs)
        self.norm_k = RMSNorm(sizes.dim, sizes.eps)
        self.num_heads = sizes.num_heads

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

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        with_image = sizes.image_dim is not None
        self.q = Linear(sizes.dim, sizes.dim, rngs=rngs)
        self.norm_q = RMSNorm(sizes.dim, sizes.eps)
        self.text = KeyValueProjection(sizes, rngs=rngs)
        self.image = KeyValueProjection(sizes, rngs=rngs) if with_image else None
        self.o = Linear(sizes.dim, sizes.dim, rngs=rngs)
        self.num_heads = sizes.num_heads
        self.kernel = sizes.attention

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
