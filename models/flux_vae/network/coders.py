"""Encoder and decoder: pictures to latents, and back.

After the autoencoder of https://github.com/CompVis/latent-diffusion (MIT), as FLUX has
it. Pictures are (B, 1, rows, columns, channels): films of one frame, for which the
convolutions of Wan's VAE are made.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.attention import attention
from ...layers.linear import Linear
from ...layers.norms import GroupNorm
from ...wan_vae.network.convolution import FrameConv
from .config import EPS, FluxVAEConfig


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut.

    Attributes:
        norm1: before the first convolution.
        conv1: in to out.
        norm2: before the second convolution.
        conv2: out to out.
        shortcut: in to out; None where they are equal.
    """

    def __init__(self, features: int, out: int, groups: int, *, rngs: nnx.Rngs):
        self.norm1 = GroupNorm(features, groups, EPS)
        self.conv1 = FrameConv(features, out, rngs=rngs)
        self.norm2 = GroupNorm(out, groups, EPS)
        self.conv2 = FrameConv(out, out, rngs=rngs)
        self.shortcut: Linear | None = nnx.data(
            Linear(features, out, rngs=rngs) if features != out else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1, h, w, in) to (B, 1, h, w, out)."""
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PlaceAttention(nnx.Module):
    """Attention among all places of a picture, with one head.

    Attributes:
        norm: before it.
        q: to the queries; ``k``, ``v`` and ``o`` are keys, values and output.
    """

    def __init__(self, features: int, groups: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(features, groups, EPS)
        self.q, self.k, self.v, self.o = (
            Linear(features, features, rngs=rngs) for _ in range(4)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1, h, w, C) to the same."""
        flat = self.norm(x).reshape(len(x), -1, 1, x.shape[-1])
        q, k, v = self.q(flat), self.k(flat), self.v(flat)
        # No fused kernel has heads as wide as this one. One place sees itself, and XLA
        # for CPUs knows no such product in bfloat16.
        y = attention(q, k, v, None, "xla") if flat.shape[1] > 1 else v
        return x + self.o(y.reshape(x.shape))


class Middle(nnx.Module):
    """What stands between encoder's levels and head, and before the decoder's.

    Attributes:
        block0: a residual block, as is ``block1``.
        attention: between them.
    """

    def __init__(self, features: int, groups: int, *, rngs: nnx.Rngs):
        self.block0 = ResidualBlock(features, features, groups, rngs=rngs)
        self.attention = PlaceAttention(features, groups, rngs=rngs)
        self.block1 = ResidualBlock(features, features, groups, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1, h, w, C) to the same."""
        return self.block1(self.attention(self.block0(x)))


class Level(nnx.Module):
    """Residual blocks, and a convolution that goes with a change of size.

    Attributes:
        block0: and further ones, residual blocks.
        resample: what follows them; None in the last level.
    """

    def __init__(
        self,
        features: int,
        out: int,
        blocks: int,
        groups: int,
        resample: FrameConv | None,
        *,
        rngs: nnx.Rngs,
    ):
        self.blocks = blocks
        for i in range(blocks):
            block = ResidualBlock(out if i else features, out, groups, rngs=rngs)
            setattr(self, f"block{i}", block)
        self.resample: FrameConv | None = nnx.data(resample)

    def through(self, x: jax.Array) -> jax.Array:
        """Goes through the residual blocks."""
        for i in range(self.blocks):
            x = getattr(self, f"block{i}")(x)
        return x


class _Coder(nnx.Module):
    """What both have.

    Attributes:
        conv_in: to the first width.
        level0: and further ones.
        middle: before the levels or behind them.
        norm: before the last convolution.
        conv_out: the last convolution.
    """

    conv_in: Any
    middle: Any
    norm: Any
    conv_out: Any

    def levels(self) -> list[Level]:
        """The levels, in order."""
        return [getattr(self, f"level{i}") for i in range(self.count)]

    count: int

    def said(self, x: jax.Array) -> jax.Array:
        """What the last convolution makes."""
        return self.conv_out(jax.nn.silu(self.norm(x)))


class Encoder(_Coder):
    """Pictures to mean and log variance of latents."""

    def __init__(self, config: FluxVAEConfig, *, rngs: nnx.Rngs):
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.count = len(widths)
        self.conv_in = FrameConv(config.in_channels, widths[0], rngs=rngs)
        for i, out in enumerate(widths):
            last = i + 1 == self.count
            # Zeros behind the last row and column alone.
            down = (
                None
                if last
                else FrameConv(out, out, rngs=rngs, stride=2, border=(0, 1))
            )
            before = widths[max(i - 1, 0)]
            count = config.layers_per_block
            level = Level(before, out, count, groups, down, rngs=rngs)
            setattr(self, f"level{i}", level)
        self.middle = Middle(widths[-1], groups, rngs=rngs)
        self.norm = GroupNorm(widths[-1], groups, EPS)
        self.conv_out = FrameConv(widths[-1], 2 * config.latent_channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1, H, W, channels) to (B, 1, h, w, 2 latent channels)."""
        x = self.conv_in(x)
        for level in self.levels():
            x = level.through(x)
            if level.resample is not None:
                x = level.resample(x)
        return self.said(self.middle(x))


class Decoder(_Coder):
    """Latents to pictures."""

    def __init__(self, config: FluxVAEConfig, *, rngs: nnx.Rngs):
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.count = len(widths)
        self.conv_in = FrameConv(config.latent_channels, widths[0], rngs=rngs)
        self.middle = Middle(widths[0], groups, rngs=rngs)
        for i, out in enumerate(widths):
            last = i + 1 == self.count
            up = None if last else FrameConv(out, out, rngs=rngs)
            before = widths[max(i - 1, 0)]
            count = config.layers_per_block + 1
            level = Level(before, out, count, groups, up, rngs=rngs)
            setattr(self, f"level{i}", level)
        self.norm = GroupNorm(widths[-1], groups, EPS)
        self.conv_out = FrameConv(widths[-1], config.in_channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1, h, w, latent channels) to (B, 1, H, W, channels)."""
        x = self.middle(self.conv_in(x))
        for level in self.levels():
            x = level.through(x)
            if level.resample is not None:
                twice = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
                x = level.resample(twice)
        return self.said(x)


class FluxVAE(nnx.Module):
    """The autoencoder.

    Attributes:
        encoder: pictures to latents.
        decoder: latents to pictures.
        config: the sizes.
    """

    def __init__(self, config: FluxVAEConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.config = config

    def moments(self, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance (B, C, h, w) of pictures (B, H, W, 3) in [-1, 1]."""
        x = pictures[:, None].astype(self.config.dtype)
        said = jnp.moveaxis(self.encoder(x)[:, 0], -1, 1)
        mean, log_variance = jnp.split(said, 2, axis=1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def encode(self, pictures: jax.Array) -> jax.Array:
        """The mean of pictures (B, H, W, 3) as latents (B, C, h, w), normalised."""
        mean, _ = self.moments(pictures)
        return (mean - self.config.shift_factor) * self.config.scaling_factor

    def decode(self, latents: jax.Array) -> jax.Array:
        """Pictures (B, H, W, 3) of normalised latents (B, C, h, w)."""
        z = latents / self.config.scaling_factor + self.config.shift_factor
        z = jnp.moveaxis(z.astype(self.config.dtype), 1, -1)[:, None]
        return self.decoder(z)[:, 0]
