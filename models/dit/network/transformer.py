"""The class-conditional diffusion transformer, in three stages.

After Peebles & Xie 2023, "Scalable Diffusion Models with Transformers", with the
objective of Ma et al. 2024, "SiT: Exploring Flow and Diffusion-based Generative Models
with Scalable Interpolant Transformers".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.linear import MLP, Linear
from ...layers.patches import patchify, unpatchify
from ...layers.precision import at_least_float32
from ...layers.stack import block_of, run_stack, stacked_blocks
from ...layers.timesteps import timestep_embedding
from .block import Block
from .config import DiTConfig
from .head import Head
from .positions import position_embedding

FREQUENCIES = 256
"""Width of the sinusoidal timestep embedding."""


class Context(NamedTuple):
    """What blocks and head read beside the tokens.

    Attributes:
        c: (B, D) timestep and label.
    """

    c: jax.Array


class DiT(nnx.Module):
    """The transformer, in SiT's convention: data at time 1, noise at time 0.

    Attributes:
        config: sizes and switches.
        patch_embedding: patch to token.
        time_embedding: sinusoids to the timestep's part of the condition.
        label_embedding: (num_classes + 1, D) the label's part; the last row is that of
            no label.
        blocks: all blocks, each parameter with a leading layer axis.
        head: tokens to patches of velocity.
    """

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        dim = config.hidden_size
        patch = config.in_channels * config.patch_size**2
        normal = nnx.initializers.normal(0.02)
        self.config = config
        self.patch_embedding = Linear(patch, dim, rngs=rngs)
        self.time_embedding = MLP(
            FREQUENCIES, dim, dim, activation=jax.nn.silu, rngs=rngs
        )
        self.label_embedding = nnx.Param(
            normal(rngs.params(), (config.num_classes + 1, dim))
        )
        self.blocks = stacked_blocks(
            lambda keys: Block(config, rngs=keys), config.depth, rngs
        )
        self.head = Head(config, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array, labels: jax.Array) -> jax.Array:
        """Predicts the velocity from noise to data.

        Args:
            x: (B, H, W, C) noisy samples.
            time: (B,) in [0, 1], 1 at the data.
            labels: (B,) int, ``num_classes`` for none.

        Returns:
            Data minus noise, like ``x``, float32 at least.

        Raises:
            ValueError: for a sample of another shape.
        """
        tokens, context = self.embed(x, time, labels)
        tokens = self.run_blocks(tokens, context, 0, self.config.depth)
        return self.decode(tokens, context)

    def embed(
        self, x: jax.Array, time: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, Context]:
        """Makes tokens (B, S, D) and their context; arguments as in `__call__`."""
        config = self.config
        size = (config.input_size, config.input_size, config.in_channels)
        if x.ndim != 4 or x.shape[1:] != size:
            raise ValueError(f"the sample must have shape (B, *{size}), got {x.shape}")
        tokens = self.patch_embedding(
            patchify(x.astype(config.dtype), config.patch_size)
        )
        where = position_embedding(config.grid, config.hidden_size)
        waves = timestep_embedding(time, FREQUENCIES).astype(config.dtype)
        # A label that there is not gives NaN, which results report; not another class.
        table = self.label_embedding.get_value()
        label = jnp.take(table, labels, axis=0, mode="fill").astype(config.dtype)
        return tokens + where.astype(config.dtype)[None], Context(
            self.time_embedding(waves) + label
        )

    def run_blocks(
        self, tokens: jax.Array, context: Context, start: int, stop: int
    ) -> jax.Array:
        """Sends tokens (B, S, D) through the blocks from ``start`` to before ``stop``.

        The blocks are one scan; a part of them costs no copy of their weights.

        Args:
            tokens: (B, S, D).
            context: of the tokens.
            start: the first block; a Python integer, as is ``stop``.
            stop: the block after the last.

        Returns:
            Tokens like those given.

        Raises:
            ValueError: if there are no such blocks.
        """
        if not 0 <= start <= stop <= self.config.depth:
            raise ValueError(
                f"there are {self.config.depth} blocks; got those from {start} to "
                f"before {stop}"
            )

        graph, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, None]:
            return nnx.merge(graph, part)(x, context.c), None

        return run_stack(layer, tokens, layers, start, stop)[0]

    def modulated(self, tokens: jax.Array, context: Context) -> jax.Array:
        """What the first block's attention is shown of tokens (B, S, D); like them."""
        graph, layers = nnx.split(self.blocks)
        return nnx.merge(graph, block_of(layers, 0)).modulated(tokens, context.c)

    def decode(self, tokens: jax.Array, context: Context) -> jax.Array:
        """Reads the velocity (B, H, W, C) off tokens (B, S, D)."""
        patches = self.head(tokens, context.c)
        said = unpatchify(patches, self.config.patch_size)
        velocity = said[..., : self.config.in_channels]
        return at_least_float32(velocity)
