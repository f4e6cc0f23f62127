"""FLUX's transformer: a noisy latent and a prompt to the latent's velocity.

After https://github.com/black-forest-labs/flux (Apache-2.0). Everything is a pure
function of its arguments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.linear import MLP, Linear
from ...layers.modulation import modulate, modulations
from ...layers.precision import at_least_float32
from ...layers.stack import block_of, run_stack, stacked_blocks
from ...layers.timesteps import rounded_timestep_embedding
from ..sizes import FluxConfig
from .attention import EPS
from .double import DoubleBlock
from .packing import grid_of, packed, unpacked
from .single import SingleBlock
from .streams import Streams, rotation_of, split


class Prompt(NamedTuple):
    """An encoded prompt.

    Attributes:
        text: (B, T, joint_attention_dim) its tokens.
        pooled: (B, pooled_projection_dim) all of it as one vector.
    """

    text: jax.Array
    pooled: jax.Array


class Stage(NamedTuple):
    """What blocks and head read besides the tokens.

    Attributes:
        temb: (B, D) embedding of time, guidance and prompt.
        like: the latent, for its shape.
    """

    temb: jax.Array
    like: jax.Array


class Attended(NamedTuple):
    """What the attentions of blocks say; leading axes are those of layers.

    Attributes:
        double: that of double blocks, None where there are none of them.
        single: that of single ones, likewise, (layers, B, T + S, D).
    """

    double: Streams | None
    single: jax.Array | None


class FluxTransformer(nnx.Module):
    """The transformer.

    Attributes:
        config: sizes and switches.
        image_embedding: packed latents to tokens.
        text_embedding: prompt tokens to tokens.
        time_embedding: sinusoids of the time to its part of the embedding.
        guidance_embedding: likewise of the guidance scale, or None.
        pooled_embedding: likewise of the prompt as one vector.
        double: double blocks, each parameter with a leading layer axis, or `Layers`.
        single: single blocks, likewise.
        modulation: embedding to shift and scale of the last normalisation.
        proj: tokens to packed velocity.
    """

    def __init__(self, config: FluxConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        dim, waves = config.dim, config.freq_dim

        def embedding(features: int) -> MLP:
            return MLP(features, dim, dim, activation=jax.nn.silu, rngs=rngs)

        self.config = config
        self.image_embedding = Linear(config.in_channels, dim, rngs=rngs)
        self.text_embedding = Linear(config.joint_attention_dim, dim, rngs=rngs)
        self.time_embedding = embedding(waves)
        told = embedding(waves) if config.guidance_embeds else None
        self.guidance_embedding: MLP | None = nnx.data(told)
        self.pooled_embedding = embedding(config.pooled_projection_dim)
        self.double = stacked_blocks(
            lambda keys: DoubleBlock(config, rngs=keys), config.num_layers, rngs
        )
        self.single = stacked_blocks(
            lambda keys: SingleBlock(config, rngs=keys), config.num_single_layers, rngs
        )
        self.modulation = Linear(dim, 2 * dim, rngs=rngs, init=zeros)
        self.proj = Linear(dim, config.in_channels, rngs=rngs, init=zeros)

    def __call__(
        self,
        latent: jax.Array,
        times: jax.Array,
        prompt: Prompt,
        guidance: jax.Array | None = None,
    ) -> jax.Array:
        """Predicts the velocity.

        Args:
            latent: (B, C, H, W).
            times: float32[B] in [0, 1000], see `rounded`.
            prompt: of as many rows.
            guidance: float32[B] in [0, 1000 g], where the network is told it.

        Returns:
            (B, C, H, W) float32.
        """
        tokens, stage = self.embed(latent, times, prompt, guidance)
        tokens, _ = self.run_blocks(tokens, stage)
        return self.decode(tokens, stage)

    def embed(
        self,
        latent: jax.Array,
        times: jax.Array,
        prompt: Prompt,
        guidance: jax.Array | None = None,
    ) -> tuple[Streams, Stage]:
        """Makes tokens, and what else is read; arguments as in `__call__`."""
        dtype = jnp.dtype(self.config.dtype)
        image = self.image_embedding(packed(latent.astype(dtype)))
        text = self.text_embedding(prompt.text.astype(dtype))
        temb = self.embed_times(times, prompt.pooled, guidance)
        return Streams(image, text), Stage(temb, latent)

    def embed_times(
        self, times: jax.Array, pooled: jax.Array, guidance: jax.Array | None
    ) -> jax.Array:
        """The embedding (B, D) of time, guidance and prompt."""
        dtype = jnp.dtype(self.config.dtype)

        def waves(x: jax.Array) -> jax.Array:
            return rounded_timestep_embedding(x, self.config.freq_dim).astype(dtype)

        temb = self.time_embedding(waves(times))
        if self.guidance_embedding is not None:
            assert guidance is not None, "the network is told the guidance scale"
            temb = temb + self.guidance_embedding(waves(guidance))
        return temb + self.pooled_embedding(pooled.astype(dtype))

    def run_blocks(
        self,
        x: Streams,
        stage: Stage,
        start: int = 0,
        stop: int | None = None,
        attended: Attended | None = None,
    ) -> tuple[Streams, Attended]:
        """Sends tokens through some of the blocks, double ones first.

        Args:
            x: tokens.
            stage: what blocks read besides.
            start: the first block; a Python integer, as is ``stop``.
            stop: the block to stop before; all of them unless given.
            attended: what the attentions of all blocks say; computed unless given.

        Returns:
            Tokens like ``x``, and what the attentions say.
        """
        config = self.config
        count, end = config.num_layers, config.num_blocks
        stop = end if stop is None else stop
        double = single = None
        length = x.text.shape[1]
        rotation = rotation_of(config, grid_of(stage.like.shape), length)

        def through(blocks: Any, x: Any, a: int, b: int, given: Any) -> Any:
            graph, layers = nnx.split(blocks)

            def layer(x: Any, part: Any) -> tuple[Any, Any]:
                state, own = part
                return nnx.merge(graph, state)(x, stage.temb, rotation, own)

            return run_stack(layer, x, (layers, given), a, b, config.unroll)

        if start < min(stop, count):
            given = None if attended is None else attended.double
            x, double = through(self.double, x, start, min(stop, count), given)
        if max(start, count) < stop:
            given = None if attended is None else attended.single
            a, b = max(start, count) - count, stop - count
            y, single = through(self.single, x.joined(), a, b, given)
            x = split(y, length)
        return x, Attended(double, single)

    def modulated(self, x: Streams, stage: Stage) -> jax.Array:
        """What block 0 feeds its attention of the image, (B, S, D)."""
        graph, layers = nnx.split(self.double)
        first = nnx.merge(graph, block_of(layers, 0))
        return first.modulated(x.image, stage.temb)

    def decode(self, x: Streams, stage: Stage) -> jax.Array:
        """Reads the velocity (B, C, H, W) float32 off the image's tokens."""
        shift, scale = modulations(self.modulation, stage.temb)
        patches = self.proj(modulate(x.image, shift, scale, EPS))
        return at_least_float32(unpacked(patches, grid_of(stage.like.shape)))
