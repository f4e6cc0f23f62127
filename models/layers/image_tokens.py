"""Image features as tokens that a transformer attends to."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from .activations import gelu_erf
from .linear import MLP
from .norms import LayerNorm


class ImageEmbedding(nnx.Module):
    """CLIP features as context tokens.

    Attributes:
        norm_in: of the image features.
        mlp: features to the transformer's width.
        norm_out: of the tokens.
        pos_embed: (tokens, image_dim) added to the features, or None.
    """

    def __init__(
        self,
        image_dim: int,
        features: int,
        *,
        rngs: nnx.Rngs,
        positions: int | None = None,
    ):
        # 1e-5 is torch's default, which the original leaves in place here only.
        self.norm_in = LayerNorm(image_dim, eps=1e-5)
        self.mlp = MLP(image_dim, image_dim, features, activation=gelu_erf, rngs=rngs)
        self.norm_out = LayerNorm(features, eps=1e-5)
        learned = None if positions is None else jnp.zeros((positions, image_dim))
        self.pos_embed: nnx.Param | None = nnx.data(
            None if learned is None else nnx.Param(learned)
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        """Maps (B, tokens, image_dim) to (B, tokens, features)."""
        if self.pos_embed is not None:
            image = image + self.pos_embed.get_value().astype(image.dtype)[None]
        return self.norm_out(self.mlp(self.norm_in(image)))
