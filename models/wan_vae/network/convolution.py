"""Convolutions of videos; those over time look at the past only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.features import beside

Slot = jax.Array | None
"""What a convolution over time keeps of a stream; None before the first piece."""

_LECUN_NORMAL = nnx.initializers.lecun_normal()
_VIDEO = ("NDHWC", "DHWIO", "NDHWC")
_PICTURE = ("NHWC", "HWIO", "NHWC")


class CausalConv(nnx.Module):
    """A convolution over time and space, or over time alone.

    Space has a border of zeros, so that its size stays. In time, the two frames of the
    past stand before the piece, zeros before the stream, and nothing stands behind.

    Attributes:
        kernel: (3, rows, columns, in, out).
        bias: (out,).
        fresh: the slot before the first piece.
    """

    fresh = None

    def __init__(
        self, features: int, out: int, *, rngs: nnx.Rngs, size: int = 3, stride: int = 1
    ):
        shape = (3, size, size, features, out)
        self.kernel = nnx.Param(_LECUN_NORMAL(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out))
        self.border = size // 2
        self.stride = stride

    def __call__(self, x: jax.Array, slot: Slot) -> tuple[jax.Array, jax.Array]:
        """Goes on with a stream.

        Args:
            x: (B, T, h, w, in).
            slot: (B, 2, h, w, in), the two frames before; None where it begins.

        Returns:
            (B, T, h, w, out), and the slot for the next piece: the last two frames that
            were seen, with zeros before the first.
        """
        joined = after(x, slot)
        return self.without_memory(joined), joined[:, -2:]

    def without_memory(self, x: jax.Array) -> jax.Array:
        """Convolves frames with their past before them.

        Args:
            x: (B, T, h, w, in).

        Returns:
            (B, (T - 3) // stride + 1, h, w, out).
        """
        border = (self.border, self.border)
        y = jax.lax.conv_general_dilated(
            x,
            self.kernel.get_value().astype(x.dtype),
            window_strides=(self.stride, 1, 1),
            padding=((0, 0), border, border),
            dimension_numbers=_VIDEO,
        )
        return y + beside(self.bias.get_value(), y)


class FrameConv(nnx.Module):
    """A convolution over the space of each frame.

    Attributes:
        kernel: (3, 3, in, out).
        bias: (out,).
    """

    def __init__(
        self,
        features: int,
        out: int,
        *,
        rngs: nnx.Rngs,
        stride: int = 1,
        border: tuple[int, int] = (1, 1),
    ):
        shape = (3, 3, features, out)
        self.kernel = nnx.Param(_LECUN_NORMAL(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out))
        self.stride = stride
        self.border = border

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, h, w, in) to (B, T, h / stride, w / stride, out)."""
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, *x.shape[2:]),
            self.kernel.get_value().astype(x.dtype),
            window_strides=(self.stride, self.stride),
            padding=(self.border, self.border),
            dimension_numbers=_PICTURE,
        )
        y = y + beside(self.bias.get_value(), y)
        return y.reshape(*x.shape[:2], *y.shape[1:])


def after(x: jax.Array, slot: Slot) -> jax.Array:
    """Frames with their past before them.

    Args:
        x: (B, T, h, w, C).
        slot: (B, 2, h, w, C); None for zeros.

    Returns:
        (B, 2 + T, h, w, C).
    """
    if slot is None:
        return jnp.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0), (0, 0)))
    return jnp.concatenate([slot, x], axis=1)
