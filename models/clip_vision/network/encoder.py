"""CLIP's image encoder, as far as its penultimate features.

After Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
Supervision". What lies behind the features (the last block, a normalisation, the
embedding) is neither run nor kept.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_erf
from ...layers.clip_block import Block, ClipSizes
from ...layers.linear import Linear
from ...layers.norms import LayerNorm
from ...layers.patches import patchify
from ...layers.stack import run_stack, stacked_blocks
from .config import CLIPVisionConfig
from .resize import normalised, resize


class CLIPVision(nnx.Module):
    """The encoder.

    Attributes:
        config: the sizes.
        patch_embedding: patch to token, without bias.
        cls_embedding: (dim,), the token that stands before the patches.
        pos_embedding: (tokens, dim).
        pre_norm: before the blocks.
        blocks: those that are run, each parameter with a leading layer axis, or
            `Layers`.
    """

    def __init__(self, config: CLIPVisionConfig, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(config.dim**-0.5)
        self.config = config
        self.patch_embedding = Linear(
            3 * config.patch_size**2, config.dim, rngs=rngs, use_bias=False
        )
        self.cls_embedding = nnx.Param(normal(rngs.params(), (config.dim,)))
        self.pos_embedding = nnx.Param(
            normal(rngs.params(), (config.tokens, config.dim))
        )
        self.pre_norm = LayerNorm(config.dim, config.eps)
        sizes = ClipSizes(
            config.dim, config.mlp_width, config.num_heads, config.eps, gelu_erf
        )
        self.blocks = stacked_blocks(
            lambda keys: Block(sizes, rngs=keys), config.depth, rngs
        )

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Looks at pictures.

        Args:
            pictures: (B, H, W, 3) floats in [-1, 1], of any size.

        Returns:
            Features (B, tokens, dim) in the configuration's dtype: all tokens before
            the last block, that of the class first.
        """
        x = self.pre_norm(self.embed(self.pixels(pictures)))
        graph, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, None]:
            return nnx.merge(graph, part)(x), None

        return run_stack(layer, x, layers)[0]

    def pixels(self, pictures: jax.Array) -> jax.Array:
        """Resizes and normalises pictures: (B, size, size, 3) float32."""
        return normalised(resize(pictures, self.config.image_size))

    def embed(self, pixels: jax.Array) -> jax.Array:
        """Makes tokens (B, tokens, dim) of pixels (B, size, size, 3)."""
        dtype = self.config.dtype
        x = self.patch_embedding(patchify(pixels.astype(dtype), self.config.patch_size))
        first = self.cls_embedding.get_value().astype(dtype)[None, None]
        first = jnp.broadcast_to(first, (x.shape[0], 1, x.shape[2]))
        where = self.pos_embedding.get_value().astype(dtype)
        return jnp.concatenate([first, x], axis=1) + where[None]
