"""pi0 and pi0.5: a vision-language model, and an expert that denoises actions.

Black et al. 2024, "pi0: A Vision-Language-Action Flow Model for General Robot Control",
and Physical Intelligence 2025, "pi0.5", as openpi computes them. Pictures and prompt go
through the first Gemma once; its keys and values are all that the second one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.attention import KeysValues
from ...layers.linear import Linear
from ...layers.stack import block_of, run_stack, stacked_blocks
from .config import GemmaConfig, Pi0Config
from .gemma import GemmaBlock, Where, norm_of, rotation_at
from .times import time_embedding
from .vision import Vision


class Prefix(NamedTuple):
    """Tokens of pictures and prompt.

    Attributes:
        tokens: (B, S, width).
        mask: bool (B, S), which of them there are.
    """

    tokens: jax.Array
    mask: jax.Array


class Pi0Condition(NamedTuple):
    """What actions are denoised under.

    Attributes:
        cache: keys and values of pictures and prompt, (layers, B, S, heads, head_dim)
            each, or `Layers`.
        mask: bool (B, S), which of them are seen.
        state: float32 (B, action_dim), of the robot.
    """

    cache: KeysValues
    mask: jax.Array
    state: jax.Array


class Stage(NamedTuple):
    """What blocks and head read beside the tokens.

    Attributes:
        where: where the tokens stand, and what they see.
        told: (B, width), pi0.5's embedding of the time; None of pi0, whose tokens
            hold it.
        cache: see `Pi0Condition`.
    """

    where: Where
    told: jax.Array | None
    cache: KeysValues


class Gemma(nnx.Module):
    """One of the two Gemmas.

    Attributes:
        blocks: each parameter with a leading layer axis, or `Layers`.
        norm: behind the blocks.
    """

    def __init__(self, config: GemmaConfig, eps: float, told: bool, *, rngs: nnx.Rngs):
        self.blocks = stacked_blocks(
            lambda keys: GemmaBlock(config, eps, told, rngs=keys), config.depth, rngs
        )
        self.norm = norm_of(config.width, eps, told, rngs)


class Pi0(nnx.Module):
    """The network.

    Attributes:
        vision: looks at pictures.
        embedder: (vocab, width), the prompt's tokens.
        gemma: reads pictures and prompt.
        expert: denoises actions.
        state: state to token; None of pi0.5.
        action_in: action to token.
        time_in: the first map of the time; of pi0 of token and time together.
        time_out: the second.
        action_out: token to velocity.
    """

    def __init__(self, config: Pi0Config, *, rngs: nnx.Rngs):
        c, width = config, config.expert.width
        normal = nnx.initializers.normal(c.gemma.width**-0.5)
        self.config = c
        self.vision = Vision(c, rngs=rngs)
        self.embedder = nnx.Param(normal(rngs.params(), (c.vocab, c.gemma.width)))
        self.gemma = Gemma(c.gemma, c.eps, False, rngs=rngs)
        self.expert = Gemma(c.expert, c.eps, c.pi05, rngs=rngs)
        state = None if c.pi05 else Linear(c.action_dim, width, rngs=rngs)
        self.state: Linear | None = nnx.data(state)
        self.action_in = Linear(c.action_dim, width, rngs=rngs)
        self.time_in = Linear(width if c.pi05 else 2 * width, width, rngs=rngs)
        self.time_out = Linear(width, width, rngs=rngs)
        self.action_out = Linear(width, c.action_dim, rngs=rngs)

    def embed_prefix(
        self,
        pictures: Sequence[jax.Array],
        there: Sequence[jax.Array],
        tokens: jax.Array,
        mask: jax.Array,
    ) -> Prefix:
        """Makes tokens of pictures and prompt.

        Args:
            pictures: (B, size, size, 3) floats in [-1, 1] each.
            there: bool (B,) for each picture, whether there is one.
            tokens: int32 (B, length), the prompt's.
            mask: bool (B, length).

        Returns:
            The tokens, picture by picture, then the prompt's.
        """
        batch = len(tokens)
        # All at once: one program of the encoder, whatever the number of cameras.
        seen = self.vision(jnp.concatenate(list(pictures)))
        parts = jnp.split(seen, len(pictures))
        words = self.embedder.get_value()[tokens].astype(self.config.dtype)
        words = words * jnp.asarray(self.config.gemma.width**0.5, words.dtype)
        masks = [
            jnp.broadcast_to(one[:, None], (batch, self.config.image_tokens))
            for one in there
        ]
        return Prefix(
            jnp.concatenate([*parts, words], axis=1),
            jnp.concatenate([*masks, mask], axis=1),
        )

    def read_prefix(self, prefix: Prefix, stop: int | None = None) -> tuple[Any, Any]:
        """Sends pictures and prompt through the first Gemma.

        Args:
            prefix: the tokens.
            stop: the block to stop before; all of them unless given.

        Returns:
            The stream behind the last block, and keys and values of each block.
        """
        mask = prefix.mask
        positions = jnp.cumsum(mask, axis=1) - 1
        sees = mask[:, None, :] & mask[:, :, None]
        where = Where(rotation_at(positions, self.config.gemma.head_dim), sees)
        graph, layers = nnx.split(self.gemma.blocks)

        def layer(x: jax.Array, part: nnx.State) -> tuple[jax.Array, KeysValues]:
            return nnx.merge(graph, part)(x, where)

        return run_stack(layer, prefix.tokens, layers, stop=stop)

    def embed(
        self, actions: jax.Array, t: jax.Array, condition: Pi0Condition
    ) -> tuple[jax.Array, Stage]:
        """Makes tokens of noisy actions, and of pi0's state.

        Args:
            actions: (B, horizon, action_dim) float32.
            t: float32[B], 1 at the noise.
            condition: what is seen.

        Returns:
            Tokens (B, suffix tokens, width), and what the other stages read.
        """
        c, dtype = self.config, self.config.dtype
        tokens = self.action_in(actions.astype(dtype))
        times = time_embedding(t, c.expert.width).astype(dtype)
        told = None
        if c.pi05:
            told = jax.nn.silu(self.time_out(jax.nn.silu(self.time_in(times))))
        else:
            each = jnp.broadcast_to(times[:, None], tokens.shape)
            both = jnp.concatenate([tokens, each], axis=-1)
            tokens = self.time_out(jax.nn.silu(self.time_in(both)))
        if self.state is not None:
            first = self.state(condition.state.astype(dtype))[:, None]
            tokens = jnp.concatenate([first, tokens], axis=1)
        return tokens, Stage(self.place(condition.mask), told, condition.cache)

    def place(self, seen: jax.Array) -> Where:
        """Where the expert's tokens stand behind a prefix.

        Args:
            seen: bool (B, S), which of the prefix there are.

        Returns:
            Positions behind those; pi0's state sees no action, all else sees all.
        """
        c, batch = self.config, len(seen)
        tokens = c.suffix_tokens
        positions = jnp.sum(seen, axis=1)[:, None] + jnp.arange(tokens)[None]
        own = jnp.ones((tokens, tokens), bool)
        if not c.pi05:
            own = own.at[0, 1:].set(False)
        before = jnp.broadcast_to(seen[:, None], (batch, tokens, seen.shape[1]))
        mask = jnp.concatenate(
            [before, jnp.broadcast_to(own[None], (batch, tokens, tokens))], axis=2
        )
        return Where(rotation_at(positions, c.expert.head_dim), mask)

    def run_blocks(
        self, hidden: jax.Array, stage: Stage, start: int, stop: int
    ) -> jax.Array:
        """Sends tokens through the expert's blocks ``start`` to ``stop - 1``."""
        graph, layers = nnx.split(self.expert.blocks)

        def layer(x: jax.Array, part: Any) -> tuple[jax.Array, None]:
            weights, cache = part
            block = nnx.merge(graph, weights)
            return block(x, stage.where, stage.told, cache)[0], None

        return run_stack(layer, hidden, (layers, stage.cache), start, stop)[0]

    def head(self, hidden: jax.Array, stage: Stage) -> jax.Array:
        """Reads the velocity (B, horizon, action_dim) off the tokens, in float32."""
        hidden = self.expert.norm(hidden, stage.told)[0]
        made = self.action_out(hidden[:, -self.config.action_horizon :])
        return made.astype(jnp.float32)

    def modulated(self, hidden: jax.Array, stage: Stage) -> jax.Array:
        """What block 0's attention is shown, (B, suffix tokens, width)."""
        graph, layers = nnx.split(self.expert.blocks)
        first = nnx.merge(graph, block_of(layers, 0))
        return first.norm1(hidden, stage.told)[0]
