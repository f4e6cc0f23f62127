"""Encoder and decoder: a piece of a stream through all parts."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from .config import WanVAEConfig
from .convolution import CausalConv
from .levels import DownLevel, UpLevel
from .parts import FrameAttention, Head, ResidualBlock, Slots, fresh_of, run


class Encoder(nnx.Module):
    """From folded frames to the latents' distribution.

    Attributes:
        conv_in: frames to the first width.
        level0: and further ones, each but the last with fewer pixels than before.
        middle: what stands behind the levels.
        head: to means and log variances.
    """

    def __init__(self, config: WanVAEConfig, *, rngs: nnx.Rngs):
        widths = config.encoder_widths
        self.conv_in = CausalConv(config.frame_channels, widths[0], rngs=rngs)
        self.levels = len(config.dim_mult)
        for i, factors in enumerate(config.halvings):
            level = DownLevel(
                widths[i],
                widths[i + 1],
                config.num_res_blocks,
                factors,
                shortcut=config.residual,
                rngs=rngs,
            )
            setattr(self, f"level{i}", level)
        self.middle = Middle(widths[-1], rngs=rngs)
        self.head = Head(widths[-1], 2 * config.z_dim, rngs=rngs)

    @property
    def parts(self) -> list[Any]:
        """What it goes through."""
        levels = [getattr(self, f"level{i}") for i in range(self.levels)]
        return [self.conv_in, *levels, *self.middle.parts, self.head]

    @property
    def fresh(self) -> Slots:
        """The slots before the first piece."""
        return fresh_of(self.parts)

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Encodes a piece.

        Args:
            x: (B, T, H, W, frame channels); one frame where the stream begins, later a
                multiple of four.
            slots: as from the piece before, or `fresh`.

        Returns:
            (B, t, h, w, 2 z), and the slots for the next piece.
        """
        return run(self.parts, x, slots)


class Decoder(nnx.Module):
    """From latents to folded frames.

    Attributes:
        conv_in: latents to the first width.
        middle: what stands before the levels.
        level0: and further ones, each but the last with more pixels than before.
        head: to frames.
    """

    def __init__(self, config: WanVAEConfig, *, rngs: nnx.Rngs):
        widths = config.decoder_widths
        self.conv_in = CausalConv(config.z_dim, widths[0], rngs=rngs)
        self.middle = Middle(widths[0], rngs=rngs)
        self.levels = len(config.dim_mult)
        for i, factors in enumerate(config.doublings):
            halved = i > 0 and not config.residual
            level = UpLevel(
                widths[i] // 2 if halved else widths[i],
                widths[i + 1],
                config.num_res_blocks + 1,
                factors,
                shortcut=config.residual,
                rngs=rngs,
            )
            setattr(self, f"level{i}", level)
        self.head = Head(widths[-1], config.frame_channels, rngs=rngs)

    @property
    def parts(self) -> list[Any]:
        """What it goes through."""
        levels = [getattr(self, f"level{i}") for i in range(self.levels)]
        return [self.conv_in, *self.middle.parts, *levels, self.head]

    @property
    def fresh(self) -> Slots:
        """The slots before the first piece."""
        return fresh_of(self.parts)

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Decodes a piece.

        Args:
            x: (B, t, h, w, z); one latent frame where the stream begins.
            slots: as from the piece before, or `fresh`.

        Returns:
            (B, T, H, W, frame channels), and the slots for the next piece.
        """
        return run(self.parts, x, slots)


class Middle(nnx.Module):
    """A residual block, attention, and a residual block.

    Attributes:
        block0: the first.
        attention: of each frame.
        block1: the last.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.block0 = ResidualBlock(features, features, rngs=rngs)
        self.attention = FrameAttention(features, rngs=rngs)
        self.block1 = ResidualBlock(features, features, rngs=rngs)

    @property
    def parts(self) -> list[Any]:
        """What it goes through."""
        return [self.block0, self.attention, self.block1]
