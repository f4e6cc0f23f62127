"""Wan's transformer: a noisy film and a prompt to the film's velocity.

After `WanModel` of https://github.com/Wan-Video/Wan2.1 and Wan2.2 (Apache-2.0).
Everything is a pure function of its arguments.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from flax import nnx

from ...layers.modulation import Spans
from ...layers.patches import patchify_video
from ...layers.prompt_attention import Context
from ...layers.rotary import grid_rotation
from ...layers.stack import run_stack
from ...layers.video_transformer import VideoTransformer
from ..sizes import WanConfig

Grid = tuple[int, int, int]
"""Tokens per (frames, rows, columns)."""


class Timed(NamedTuple):
    """What depends on the timestep.

    Attributes:
        embedding: (B, rows, D). One row serves all tokens; of two, the first is of the
            first frame's tokens and the other of the rest; else one for each token.
        modulation: (B, rows, 6, D) its projection.
    """

    embedding: jax.Array
    modulation: jax.Array


class WanTransformer(VideoTransformer):
    """The transformer: that of videos.

    Attributes:
        config: sizes and switches.
    """

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs):
        super().__init__(config.video, rngs=rngs)
        self.config = config
        self.add_blocks(rngs)

    def encode_prompt(self, text: jax.Array, image: jax.Array | None = None) -> Context:
        """Prepares a prompt for all layers; once per prompt is enough.

        Args:
            text: (B, tokens, text_dim) encoded prompt, zero past its length.
            image: (B, image tokens, image_dim) image features, those of the last image
                behind those of the first; None exactly where the transformer has no
                image branch.

        Returns:
            Keys and values of the cross-attentions.
        """
        return Context(self.text_keys(text), self.image_keys(image))

    def embed(self, latent: jax.Array) -> jax.Array:
        """Latents (B, in_channels, f, H, W) to tokens (B, f * h * w, D)."""
        patches = patchify_video(
            latent.astype(self.config.dtype), self.config.patch_size
        )
        return self.patch_embedding(patches)

    def embed_times(self, t: jax.Array) -> Timed:
        """Timesteps (B, rows), see `Timed`, to what depends on them."""
        return Timed(*self.embed_time(t))

    def run_blocks(
        self,
        x: jax.Array,
        timed: Timed,
        context: Context,
        grid: Grid,
        start: int = 0,
        stop: int | None = None,
    ) -> jax.Array:
        """Sends tokens (B, L, D) through blocks ``start`` to ``stop - 1``."""
        rotation = grid_rotation(grid, self.config.attention_head_dim)
        spans = spans_of(timed.embedding.shape[1], grid)
        graph, layers = nnx.split(self.blocks)

        def layer(x, part):
            state, layer_context = part
            x, _ = nnx.merge(graph, state)(
                x, timed.modulation, rotation, layer_context, None, None, spans=spans
            )
            return x, None

        parts = (layers, context)
        return run_stack(layer, x, parts, start, stop, self.config.unroll)[0]

    def modulated(self, x: jax.Array, timed: Timed, grid: Grid) -> jax.Array:
        """What block 0 feeds its self-attention, (B, L, D)."""
        spans = spans_of(timed.embedding.shape[1], grid)
        return self.input_of_first(x, timed.modulation, spans)

    def decode(self, x: jax.Array, timed: Timed, grid: Grid) -> jax.Array:
        """Tokens to the velocity (B, out_channels, f, H, W) float32."""
        spans = spans_of(timed.embedding.shape[1], grid)
        return self.velocity(x, timed.embedding, grid, spans)

    def __call__(self, latent: jax.Array, t: jax.Array, context: Context) -> jax.Array:
        """Predicts the velocity.

        Args:
            latent: (B, in_channels, f, H, W).
            t: timesteps in [0, 1000]: (B,), or (B, L) for each token its own.
            context: of the prompt.

        Returns:
            (B, out_channels, f, H, W) float32.
        """
        grid = grid_of(self.config, latent.shape)
        timed = self.embed_times(t[:, None] if t.ndim == 1 else t)
        x = self.run_blocks(self.embed(latent), timed, context, grid)
        return self.decode(x, timed, grid)


def grid_of(config: WanConfig, shape: tuple[int, ...]) -> Grid:
    """The tokens of latents (B, C, f, H, W).

    Raises:
        ValueError: if their rows and columns are no whole number of patches.
    """
    _, _, frames, height, width = shape
    _, rows, cols = config.patch_size
    if height % rows or width % cols:
        raise ValueError(
            f"a latent's rows and columns must be multiples of {(rows, cols)}, got "
            f"{(height, width)}"
        )
    return frames, height // rows, width // cols


def spans_of(rows: int, grid: Grid) -> Spans:
    """Which tokens each row of times is for, see `Timed`."""
    frames, height, width = grid
    tokens = frames * height * width
    if rows == 2 and frames > 1:
        return ((1, height * width), (1, tokens - height * width))
    return ((rows, tokens // rows),)
