"""Fewer frames and pixels, and more of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from .config import Factors
from .convolution import CausalConv, FrameConv, Slot


class Down(nnx.Module):
    """Half as many rows and columns, and where it says so half as many frames.

    Attributes:
        conv: over space, stride 2, a row of zeros below and a column at the right.
        time_conv: over time, stride 2, or None.
        fresh: one slot where there is ``time_conv``.
    """

    def __init__(self, features: int, factors: Factors, *, rngs: nnx.Rngs):
        self.conv = FrameConv(features, features, rngs=rngs, stride=2, border=(0, 1))
        self.time_conv: CausalConv | None = nnx.data(
            CausalConv(features, features, rngs=rngs, size=1, stride=2)
            if factors.time == 2
            else None
        )

    @property
    def fresh(self) -> Any:
        """The slots before the first piece."""
        return () if self.time_conv is None else None

    def __call__(self, x: jax.Array, slot: Slot) -> tuple[jax.Array, Any]:
        """Goes on with a stream.

        Args:
            x: (B, T, h, w, C); one frame where the stream begins, and later an even
                number where time is halved.
            slot: (B, 1, h / 2, w / 2, C), the last frame before, halved in space; None
                where the stream begins, () without ``time_conv``.

        Returns:
            (B, T / 2, h / 2, w / 2, C), the first frame being one for itself, and the
            slot for the next piece.
        """
        y = self.conv(x)
        if self.time_conv is None:
            return y, ()
        kept = y[:, -1:]
        if slot is None:
            return y, kept
        joined = jnp.concatenate([slot, y], axis=1)
        return self.time_conv.without_memory(joined), kept


class Up(nnx.Module):
    """Twice as many rows and columns, and where it says so twice as many frames.

    Attributes:
        time_conv: C to the channels of two frames, or None.
        conv: over space, after each pixel has become four.
        fresh: one slot where there is ``time_conv``.
    """

    def __init__(self, features: int, out: int, factors: Factors, *, rngs: nnx.Rngs):
        self.time_conv: CausalConv | None = nnx.data(
            CausalConv(features, 2 * features, rngs=rngs, size=1)
            if factors.time == 2
            else None
        )
        self.conv = FrameConv(features, out, rngs=rngs)

    @property
    def fresh(self) -> Any:
        """The slots before the first piece."""
        return () if self.time_conv is None else None

    def __call__(self, x: jax.Array, slot: Slot) -> tuple[jax.Array, Any]:
        """Goes on with a stream.

        The first latent frame gives one frame, and is nobody's past: after it the slot
        is zeros, which stand for the original's mark "Rep".

        Args:
            x: (B, T, h, w, C); one frame where the stream begins.
            slot: (B, 2, h, w, C); None where the stream begins, () without
                ``time_conv``.

        Returns:
            (B, 2 T, 2 h, 2 w, out), the first frame being one for itself, and the slot
            for the next piece.
        """
        kept: Any = ()
        if self.time_conv is not None and slot is None:
            kept = jnp.zeros((x.shape[0], 2, *x.shape[2:]), x.dtype)
        elif self.time_conv is not None:
            pairs, kept = self.time_conv(x, slot)
            x = _in_turn(pairs)
        return self.conv(_four_of_each(x)), kept


def _in_turn(pairs: jax.Array) -> jax.Array:
    """(B, T, h, w, 2 C), two frames in the channels, as (B, 2 T, h, w, C)."""
    batch, frames, height, width, channels = pairs.shape
    apart = pairs.reshape(batch, frames, height, width, 2, channels // 2)
    shape = (batch, 2 * frames, height, width, channels // 2)
    return jnp.moveaxis(apart, 4, 2).reshape(shape)


def _four_of_each(x: jax.Array) -> jax.Array:
    """(B, T, h, w, C) as (B, T, 2 h, 2 w, C), each pixel four times."""
    batch, frames, height, width, channels = x.shape
    spread = jnp.broadcast_to(
        x[:, :, :, None, :, None], (batch, frames, height, 2, width, 2, channels)
    )
    return spread.reshape(batch, frames, 2 * height, 2 * width, channels)
