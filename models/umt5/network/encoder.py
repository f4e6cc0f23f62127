"""UMT5's text encoder: tokens to features.

After UMT5 (Chung et al. 2023), as Wan and DreamZero run it: T5's encoder with a table
of relative positions in each layer, and no scale anywhere.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.norms import RMSNorm
from ...layers.stack import run_stack, stacked_blocks
from .block import Block
from .config import UMT5Config


class UMT5Encoder(nnx.Module):
    """The encoder.

    Attributes:
        config: the sizes.
        token_embedding: (vocab, dim).
        blocks: all blocks, each parameter with a leading layer axis, or `Layers`.
        norm: of what comes out.
    """

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.02)
        self.config = config
        self.token_embedding = nnx.Param(
            normal(rngs.params(), (config.vocab, config.dim))
        )
        self.blocks = stacked_blocks(
            lambda keys: Block(config, rngs=keys), config.num_layers, rngs
        )
        self.norm = RMSNorm(config.dim, config.eps)

    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """Encodes tokens; nothing is set to zero.

        Args:
            ids: (B, L) int tokens. One that there is not gives NaN.
            mask: (B, L) bool, whether a token is seen.

        Returns:
            (B, L, dim) in the configuration's dtype.
        """
        table = self.token_embedding.get_value()
        x = jnp.take(table, ids, axis=0, mode="fill").astype(self.config.dtype)
        graph, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, None]:
            return nnx.merge(graph, part)(x, mask), None

        return self.norm(run_stack(layer, x, layers)[0])

    def prompt(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """Encodes prompts: rows past each prompt's length are zero.

        Args:
            ids: (B, L) int tokens.
            mask: (B, L) bool; as many True as the prompt has tokens, in front.

        Returns:
            (B, L, dim) in the configuration's dtype.
        """
        length = mask.sum(axis=1, keepdims=True)
        inside = jnp.arange(mask.shape[1])[None] < length
        x = self(ids, mask)
        return jnp.where(inside[:, :, None], x, jnp.zeros((), x.dtype))
