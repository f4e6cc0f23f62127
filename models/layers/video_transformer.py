"""A transformer over the patches of a video that attends to a prompt.

After `WanModel` of https://github.com/Wan-Video/Wan2.1 (Apache-2.0), as far as models
of its family have it in common.
"""

from __future__ import annotations

import jax
from flax import nnx

from .activations import gelu_tanh
from .attention import KeysValues
from .image_tokens import ImageEmbedding
from .linear import MLP, Linear
from .modulation import Spans
from .patches import unpatchify_video
from .precision import at_least_float32
from .prompt_attention import per_layer
from .spread import ALONE, Spread
from .stack import block_of, stacked_blocks
from .timesteps import timestep_embedding
from .video_block import Block, modulated_input
from .video_head import Head
from .video_sizes import VideoSizes


class VideoTransformer(nnx.Module):
    """The parts; how tokens go through the blocks is the model's own.

    Attributes:
        sizes: of all of it.
        patch_embedding: patch to token.
        text_embedding: prompt features to context tokens.
        img_emb: image features to context tokens, or None.
        time_embedding: sinusoids to the time embedding.
        time_projection: time embedding to the blocks' modulation.
        blocks: all blocks, each parameter with a leading layer axis, or `Layers`.
        head: tokens to patches of velocity.
    """

    blocks: Block
    head: Head

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        dim, image = sizes.dim, sizes.image_dim
        self.sizes = sizes
        self.patch_embedding = Linear(sizes.patch_in, dim, rngs=rngs)
        self.text_embedding = MLP(
            sizes.text_dim, dim, dim, activation=gelu_tanh, rngs=rngs
        )
        self.img_emb = (
            None
            if image is None
            else ImageEmbedding(image, dim, rngs=rngs, positions=sizes.image_positions)
        )
        self.time_embedding = MLP(
            sizes.freq_dim, dim, dim, activation=jax.nn.silu, rngs=rngs
        )
        self.time_projection = Linear(dim, 6 * dim, rngs=rngs, init=zeros)

    def add_blocks(self, rngs: nnx.Rngs) -> None:
        """Draws blocks and head, after whatever else a model draws."""
        sizes = self.sizes
        self.blocks = stacked_blocks(
            lambda keys: Block(sizes, rngs=keys), sizes.num_layers, rngs
        )
        self.head = Head(sizes, rngs=rngs)

    def text_keys(self, text: jax.Array, spread: Spread = ALONE) -> KeysValues:
        """Keys and values of all layers of a prompt (B, tokens, text_dim)."""
        tokens = self.text_embedding(text.astype(self.sizes.dtype))
        return per_layer(self.blocks.cross_attn.text, tokens, spread)

    def image_keys(
        self, image: jax.Array | None, spread: Spread = ALONE
    ) -> KeysValues | None:
        """Likewise of image features (B, tokens, image_dim); None without them."""
        projection = self.blocks.cross_attn.image
        if image is None or self.img_emb is None or projection is None:
            return None
        tokens = self.img_emb(image.astype(self.sizes.dtype))
        return per_layer(projection, tokens, spread)

    def embed_time(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Timesteps (B, rows) to embedding (B, rows, D) and modulation (.., 6, D)."""
        sinusoids = timestep_embedding(t, self.sizes.freq_dim)
        e = self.time_embedding(sinusoids.astype(self.sizes.modulation_dtype))
        modulation = self.time_projection(jax.nn.silu(e))
        return e, modulation.reshape(*e.shape[:2], 6, self.sizes.dim)

    def input_of_first(
        self, x: jax.Array, modulation: jax.Array, spans: Spans
    ) -> jax.Array:
        """What block 0 feeds its self-attention: tokens (B, L, D), modulated."""
        added = block_of(self.blocks.modulation.get_value(), 0)
        return modulated_input(x, modulation, added, spans, self.sizes.eps)

    def velocity(
        self,
        x: jax.Array,
        e: jax.Array,
        grid: tuple[int, int, int],
        spans: Spans | None = None,
    ) -> jax.Array:
        """Reads the velocity off the last tokens.

        Args:
            x: (B, frames * rows * columns, D) tokens.
            e: (B, rows of ``spans``, D) time embedding.
            grid: (frames, rows, columns) of tokens.
            spans: which tokens each row of ``e`` is for; as many each unless given.

        Returns:
            (B, out_channels, frames, H, W) float32.
        """
        patches = self.head(x, e, spans)
        return at_least_float32(unpatchify_video(patches, grid, self.sizes.patch_size))
