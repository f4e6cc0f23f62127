"""A block in which image and text have weights of their own, and attend together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.attention import attend
from ...layers.linear import MLP, Linear
from ...layers.modulation import modulate, modulations
from ...layers.rotary import Rotation, rotate
from ..sizes import FluxConfig
from .attention import EPS, Projections
from .streams import Streams, split


class Stream(nnx.Module):
    """The weights of one of the two.

    Attributes:
        modulation: time embedding to shift, scale and gate of the attention, then to
            those of the feed-forward.
        attn: queries, keys and values.
        o: what was attended to, back to tokens.
        mlp: feed-forward.
    """

    def __init__(self, config: FluxConfig, *, rngs: nnx.Rngs):
        # Zero gates make a fresh block the identity ("adaLN-Zero").
        zeros = nnx.initializers.zeros_init()
        dim = config.dim
        self.modulation = Linear(dim, 6 * dim, rngs=rngs, init=zeros)
        self.attn = Projections(config, rngs=rngs)
        self.o = Linear(dim, dim, rngs=rngs)
        self.mlp = MLP(dim, config.mlp_width, dim, activation=gelu_tanh, rngs=rngs)


class DoubleBlock(nnx.Module):
    """Joint attention and a feed-forward for each, with residuals and gates.

    Attributes:
        image: the image's weights.
        text: the text's.
        kernel: see `attend`.
    """

    def __init__(self, config: FluxConfig, *, rngs: nnx.Rngs):
        self.image = Stream(config, rngs=rngs)
        self.text = Stream(config, rngs=rngs)
        self.kernel = config.attention

    def __call__(
        self,
        x: Streams,
        temb: jax.Array,
        rotation: Rotation,
        attended: Streams | None = None,
    ) -> tuple[Streams, Streams]:
        """Applies the block.

        Args:
            x: tokens.
            temb: (B, D) embedding of time, guidance and prompt.
            rotation: of all tokens, the text's first.
            attended: what the attention says, like ``x``; it is computed unless given.

        Returns:
            Tokens like ``x``, and what the attention says.
        """
        each = (self.image, self.text)
        scales = [modulations(one.modulation, temb) for one in each]
        if attended is None:
            given = [
                modulate(one, shift, scale, EPS)
                for one, (shift, scale, *_) in zip(x, scales, strict=True)
            ]
            attended = self._attended(Streams(*given), rotation)
        parts = zip(each, x, scales, attended, strict=True)
        return Streams(*(_through(*own) for own in parts)), attended

    def modulated(self, x: jax.Array, temb: jax.Array) -> jax.Array:
        """What the attention is given of the image's tokens (B, S, D)."""
        shift, scale, *_ = modulations(self.image.modulation, temb)
        return modulate(x, shift, scale, EPS)

    def _attended(self, u: Streams, rotation: Rotation) -> Streams:
        image, text = self.image.attn(u.image), self.text.attn(u.text)
        q, k, v = (
            jnp.concatenate([first, then], axis=1)
            for first, then in zip(text, image, strict=True)
        )
        y = attend(rotate(q, rotation), rotate(k, rotation), v, self.kernel)
        y = split(y.reshape(*y.shape[:2], -1), u.text.shape[1])
        return Streams(self.image.o(y.image), self.text.o(y.text))


def _through(one: Stream, x: jax.Array, scales: Any, attended: jax.Array) -> jax.Array:
    """The tokens of one, after the attention."""
    _, _, gate1, shift2, scale2, gate2 = scales
    x = x + gate1 * attended
    return x + gate2 * one.mlp(modulate(x, shift2, scale2, EPS))
