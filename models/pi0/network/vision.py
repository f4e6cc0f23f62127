"""SigLIP, which makes tokens of pictures.

After Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", as PaliGemma and
pi0 have it: no token of the class, no pooling, every token is mapped to the width of
the language model.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.attention import attend, split_heads
from ...layers.linear import MLP, Linear
from ...layers.norms import LayerNorm
from ...layers.patches import patchify
from ...layers.stack import run_stack, stacked_blocks
from .config import Pi0Config


class VisionBlock(nnx.Module):
    """Attention of all tokens to all, and a feed-forward layer.

    Attributes:
        norm1: before the attention.
        q: to queries, as ``k`` to keys and ``v`` to values.
        o: from the heads.
        norm2: before the feed-forward layer.
        mlp: the feed-forward layer.
        num_heads: heads.
    """

    def __init__(self, config: Pi0Config, *, rngs: nnx.Rngs):
        c = config.vision
        self.norm1 = LayerNorm(c.width, config.eps)
        self.q, self.k, self.v, self.o = (
            Linear(c.width, c.width, rngs=rngs) for _ in range(4)
        )
        self.norm2 = LayerNorm(c.width, config.eps)
        self.mlp = MLP(c.width, c.mlp_dim, c.width, activation=gelu_tanh, rngs=rngs)
        self.num_heads = c.num_heads

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to (rows, tokens, width)."""
        y = self.norm1(x)
        q, k, v = (split_heads(f(y), self.num_heads) for f in (self.q, self.k, self.v))
        x = x + self.o(attend(q, k, v, None).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


class Vision(nnx.Module):
    """The encoder.

    Attributes:
        patch_embedding: patch to token, channels slowest in a patch.
        pos_embedding: (tokens, width).
        blocks: each parameter with a leading layer axis, or `Layers`.
        norm: behind the blocks.
        head: to the width of the language model.
    """

    def __init__(self, config: Pi0Config, *, rngs: nnx.Rngs):
        c = config.vision
        normal = nnx.initializers.normal(c.width**-0.5)
        self.config = config
        self.patch_embedding = Linear(3 * c.patch_size**2, c.width, rngs=rngs)
        self.pos_embedding = nnx.Param(
            normal(rngs.params(), (config.image_tokens, c.width))
        )
        self.blocks = stacked_blocks(
            lambda keys: VisionBlock(config, rngs=keys), c.depth, rngs
        )
        self.norm = LayerNorm(c.width, config.eps)
        self.head = Linear(c.width, config.gemma.width, rngs=rngs)

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Makes tokens (rows, tokens, gemma's width) of pictures.

        Args:
            pictures: (rows, size, size, 3) floats in [-1, 1].

        Returns:
            The tokens, in the configuration's dtype.
        """
        return self.head(self.norm(self.run_blocks(self.embed(pictures))))

    def embed(self, pictures: jax.Array) -> jax.Array:
        """Patches and where they are, (rows, tokens, width)."""
        # As the original, in float32: the first of its maps alone.
        wide = pictures.astype(jnp.float32)
        x = self.patch_embedding(patchify(wide, self.config.vision.patch_size))
        where = self.pos_embedding.get_value().astype(x.dtype)
        return (x + where[None]).astype(self.config.dtype)

    def run_blocks(self, x: jax.Array, start: int = 0, stop: int | None = None) -> Any:
        """Sends tokens through blocks ``start`` to ``stop - 1``, or all."""
        graph, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, None]:
            return nnx.merge(graph, part)(x), None

        return run_stack(layer, x, layers, start, stop)[0]
