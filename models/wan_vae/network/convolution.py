"""Convolutions of videos; those over time look at the past only.

A convolution over time and space is done as one over space, of the channels of three
frames: on GPUs, XLA has channels last for pictures alone, and turns a video before and
after each convolution of one; on CPUs it is several times as fast, too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ...layers.features import beside

Slot = jax.Array | None
"""What a convolution over time keeps of a stream; None before the first piece."""

_LECUN_NORMAL = nnx.initializers.lecun_normal()
_LAYOUTS = ("NHWC", "HWIO", "NHWC")
# Frames that a convolution over time sees.
_FRAMES = 3


class CausalConv(nnx.Module):
    """A convolution over time and space, or over time alone.

    Space has a border of zeros, so that its size stays. In time, the two frames of the
    past stand before the piece, zeros before the stream, and nothing stands behind.

    Attributes:
        kernel: (rows, columns, 3, in, out).
        bias: (out,).
        fresh: the slot before the first piece.
    """

    fresh = None

    def __init__(
        self, features: int, out: int, *, rngs: nnx.Rngs, size: int = 3, stride: int = 1
    ):
        shape = (size, size, _FRAMES, features, out)
        self.kernel = nnx.Param(_LECUN_NORMAL(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out))
        self.border = (size // 2, size // 2)
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
        kernel = self.kernel.get_value()
        as_picture = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
        seen = _with_past_as_channels(x, self.stride)
        return _convolved(seen, as_picture, self.bias.get_value(), 1, self.border)


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
        kernel, bias = self.kernel.get_value(), self.bias.get_value()
        return _convolved(x, kernel, bias, self.stride, self.border)


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


def _with_past_as_channels(x: jax.Array, stride: int) -> jax.Array:
    """Each frame's channels behind those of the two before it.

    Args:
        x: (B, 2 + T, h, w, C).
        stride: only every second, say, of the T frames.

    Returns:
        (B, T / stride, h, w, 3 C), the oldest first.
    """
    last = x.shape[1] - _FRAMES
    seen = [x[:, start : last + start + 1 : stride] for start in range(_FRAMES)]
    return jnp.concatenate(seen, axis=-1)


def _convolved(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    stride: int,
    border: tuple[int, int],
) -> jax.Array:
    """A convolution over the space of each frame.

    Args:
        x: (B, T, h, w, in).
        kernel: (rows, columns, in, out).
        bias: (out,).
        stride: in rows and in columns.
        border: zeros before the first and behind the last row and column.

    Returns:
        (B, T, h / stride, w / stride, out), in the dtype of ``x``.
    """
    y = jax.lax.conv_general_dilated(
        x.reshape(-1, *x.shape[2:]),
        kernel.astype(x.dtype),
        window_strides=(stride, stride),
        padding=(border, border),
        dimension_numbers=_LAYOUTS,
    )
    y = y + beside(bias, y)
    return y.reshape(*x.shape[:2], *y.shape[1:])
