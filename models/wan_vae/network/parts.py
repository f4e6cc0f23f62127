"""What encoder and decoder consist of: parts that pass on a video and keep slots.

A part maps ``(x, slots)`` to ``(x, slots)``; its ``fresh`` is what it has for slots
before the first piece, a pytree with None for each slot, in order of execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from ...layers.attention import attention
from ...layers.linear import Linear
from .convolution import CausalConv
from .norm import ChannelNorm

Slots = Any
"""Pytree of slots, or of None before the first piece."""


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut.

    Attributes:
        norm1: before the first convolution.
        conv1: in to out.
        norm2: before the second convolution.
        conv2: out to out.
        shortcut: in to out; None where they are equal.
        fresh: two slots.
    """

    fresh = (None, None)

    def __init__(self, features: int, out: int, *, rngs: nnx.Rngs):
        self.norm1 = ChannelNorm(features)
        self.conv1 = CausalConv(features, out, rngs=rngs)
        self.norm2 = ChannelNorm(out)
        self.conv2 = CausalConv(out, out, rngs=rngs)
        self.shortcut: Linear | None = nnx.data(
            Linear(features, out, rngs=rngs) if features != out else None
        )

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Maps (B, T, h, w, in) to (B, T, h, w, out)."""
        first, second = slots
        y, first = self.conv1(jax.nn.silu(self.norm1(x)), first)
        y, second = self.conv2(jax.nn.silu(self.norm2(y)), second)
        beside = x if self.shortcut is None else self.shortcut(x)
        return beside + y, (first, second)


class FrameAttention(nnx.Module):
    """Attention among the places of each frame, with one head.

    Attributes:
        norm: before it.
        to_qkv: C to 3 C: queries, keys, values.
        proj: C to C.
        fresh: no slots.
    """

    fresh = ()

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.norm = ChannelNorm(features)
        self.to_qkv = Linear(features, 3 * features, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.proj = Linear(features, features, rngs=rngs, init=zeros)

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Maps (B, T, h, w, C) to the same."""
        batch, frames, height, width, channels = x.shape
        qkv = self.to_qkv(self.norm(x))
        qkv = qkv.reshape(batch * frames, height * width, 1, 3 * channels)
        q, k, v = (qkv[..., i * channels : (i + 1) * channels] for i in range(3))
        # No fused kernel has heads as wide as this one. One place sees itself, and XLA
        # for CPUs knows no such product in bfloat16.
        y = attention(q, k, v, None, "xla") if height * width > 1 else v
        return x + self.proj(y.reshape(x.shape)), slots


class Head(nnx.Module):
    """The last convolution.

    Attributes:
        norm: before it.
        conv: in to out.
        fresh: one slot.
    """

    fresh = None

    def __init__(self, features: int, out: int, *, rngs: nnx.Rngs):
        self.norm = ChannelNorm(features)
        self.conv = CausalConv(features, out, rngs=rngs)

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Maps (B, T, h, w, in) to (B, T, h, w, out)."""
        return self.conv(jax.nn.silu(self.norm(x)), slots)


def fresh_of(parts: Sequence[Any]) -> Slots:
    """What parts that follow one another have for slots before the first piece."""
    return tuple(part.fresh for part in parts)


def run(parts: Sequence[Any], x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
    """Goes through parts that follow one another.

    Args:
        parts: the parts.
        x: (B, T, h, w, C), what the first one takes.
        slots: of each part.

    Returns:
        What the last one gives, and the slots for the next piece.
    """
    kept = []
    for part, slot in zip(parts, slots, strict=True):
        x, after = part(x, slot)
        kept.append(after)
    return x, tuple(kept)
