"""CLIP's text encoder: tokens to features, and to one vector.

After Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
Supervision".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.clip_block import Block
from ...layers.norms import LayerNorm
from ...layers.stack import run_stack, stacked_blocks
from .config import CLIPTextConfig


class Encoded(NamedTuple):
    """Texts, encoded.

    Attributes:
        tokens: (B, L, dim) features of all tokens.
        pooled: (B, dim) those of the end token, which stand for the text.
    """

    tokens: jax.Array
    pooled: jax.Array


class CLIPText(nnx.Module):
    """The encoder.

    Attributes:
        config: the sizes.
        token_embedding: (vocab, dim).
        positions: (length, dim).
        blocks: all blocks, each parameter with a leading layer axis, or `Layers`.
        norm: of what comes out.
    """

    def __init__(self, config: CLIPTextConfig, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.02)
        self.config = config
        self.token_embedding = nnx.Param(
            normal(rngs.params(), (config.vocab, config.dim))
        )
        self.positions = nnx.Param(normal(rngs.params(), (config.length, config.dim)))
        self.blocks = stacked_blocks(
            lambda keys: Block(config.sizes, rngs=keys), config.num_layers, rngs
        )
        self.norm = LayerNorm(config.dim, config.eps)

    def __call__(self, ids: jax.Array) -> Encoded:
        """Encodes tokens (B, L) int, L at most ``length``; each sees those before it.

        A token that there is not gives NaN. Of several end tokens the first counts.
        """
        dtype, count = self.config.dtype, ids.shape[1]
        table = self.token_embedding.get_value()
        x = jnp.take(table, ids, axis=0, mode="fill").astype(dtype)
        x = x + self.positions.get_value()[None, :count].astype(dtype)
        mask = jnp.tril(jnp.ones((count, count), bool))[None, None]
        graph, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, None]:
            return nnx.merge(graph, part)(x, mask), None

        x = self.norm(run_stack(layer, x, layers)[0])
        end = self.config.end
        at = jnp.argmax(ids if end is None else ids == end, axis=1)
        return Encoded(x, jnp.take_along_axis(x, at[:, None, None], axis=1)[:, 0])
