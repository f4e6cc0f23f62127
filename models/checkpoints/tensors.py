"""What becomes of one tensor of a checkpoint, or of those of a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax_stepcache.checkpoints.streaming import as_it_is

Shape = tuple[int, ...]

Table = dict[str, Any]
"""Nested dict like the weights', with a `Tensor` for each of them."""


@dataclass(frozen=True)
class Tensor:
    """How one tensor of the checkpoint becomes one of ours, or a layer of it.

    Attributes:
        source: its name in the checkpoint, ``{layer}`` standing for the block; several
            where ours has an axis, behind that of the layers, over which they lie.
        shape: its shape there, for a target of a given shape (without layers).
        convert: makes ours of it, of NumPy's or JAX's arrays. These are functions of
            the module, so that programs made of them are compiled once.
    """

    source: str | tuple[str, ...]
    shape: Callable[[Shape], Shape]
    convert: Callable[[Any], Any]


def same(source: str) -> Tensor:
    """A tensor that is ours as it is."""
    return Tensor(source, lambda ours: ours, as_it_is)


def turned(source: str) -> Tensor:
    """A matrix that is ours transposed."""
    return Tensor(source, lambda ours: ours[::-1], _turned)


@dataclass(frozen=True)
class Rows:
    """A conversion: some of a tensor's rows, transposed where it is a matrix.

    Attributes:
        start: the first.
        stop: the one behind the last.
    """

    start: int
    stop: int

    def __call__(self, tensor: Any) -> Any:
        """The weight."""
        return tensor[self.start : self.stop].T


def part(name: str, rows: int, start: int, stop: int) -> Table:
    """A linear map that is a part of one with so many rows."""
    convert = Rows(start, stop)
    return {
        "kernel": Tensor(f"{name}.weight", lambda ours: (rows, ours[0]), convert),
        "bias": Tensor(f"{name}.bias", lambda ours: (rows,), convert),
    }


def rows_of(convert: Callable[[Any], Any]) -> slice | None:
    """Which of a matrix's rows are ours, transposed; None for other conversions."""
    if isinstance(convert, Rows):
        return slice(convert.start, convert.stop)
    return slice(None) if convert is _turned else None


def only(source: str) -> Tensor:
    """A tensor with an axis of length 1 before those of ours."""
    return Tensor(source, lambda ours: (1, *ours), _only)


def patches(source: str, inner: Shape) -> Tensor:
    """The kernel of a convolution whose stride is its size: a matrix of ours.

    Args:
        source: the tensor's name.
        inner: its axes after that of the output channels.

    Returns:
        The tensor.
    """
    return Tensor(source, lambda ours: (ours[1], *inner), _patches)


def convolution(source: str) -> Tensor:
    """A kernel (out, in, rows, columns) that is ours as (rows, columns, in, out).

    One with (..., frames, rows, columns) is ours with (rows, columns, frames, ...).
    """
    return Tensor(
        source, lambda ours: (*ours[:-3:-1], *ours[2:-2], *ours[:2]), _channels_last
    )


def channels(source: str, places: int) -> Tensor:
    """A number for each channel, with axes of length 1 behind that ours has not.

    Args:
        source: the tensor's name.
        places: how many such axes.

    Returns:
        The tensor.
    """
    return Tensor(source, lambda ours: (*ours, *(1,) * places), _row)


def channels_first(source: str, places: int) -> Tensor:
    """A number for each channel, with axes of length 1 before that ours has not.

    Args:
        source: the tensor's name.
        places: how many such axes.

    Returns:
        The tensor.
    """
    return Tensor(source, lambda ours: (*(1,) * places, *ours), _row)


def linear(name: str) -> Table:
    """A linear map; PyTorch keeps matrices as (out, in)."""
    return {"kernel": turned(f"{name}.weight"), "bias": same(f"{name}.bias")}


def projection(name: str) -> Table:
    """A linear map without bias."""
    return {"kernel": turned(f"{name}.weight")}


def thirds(name: str) -> Table:
    """One linear map to queries, keys and values; ours lie along a first axis."""
    return {
        "kernel": Tensor(
            f"{name}.weight", lambda ours: (3 * ours[2], ours[1]), _kernels_of_three
        ),
        "bias": Tensor(f"{name}.bias", lambda ours: (3 * ours[1],), _rows_of_three),
    }


def three(*names: str) -> Table:
    """Three linear maps; ours lie along a first axis."""
    return {
        "kernel": Tensor(
            tuple(f"{name}.weight" for name in names),
            lambda ours: ours[:0:-1],
            _turned,
        ),
        "bias": Tensor(
            tuple(f"{name}.bias" for name in names), lambda ours: ours[1:], as_it_is
        ),
    }


def mlp(name: str, first: str, second: str) -> Table:
    """Two linear maps.

    Args:
        name: the module's.
        first: the name of the first in it.
        second: that of the second. An ``nn.Sequential`` counts activations too.

    Returns:
        The table.
    """
    return {
        "layer1": linear(f"{name}.{first}"),
        "layer2": linear(f"{name}.{second}"),
    }


def norm(name: str) -> Table:
    """A normalisation with scale and bias."""
    return {"scale": same(f"{name}.weight"), "bias": same(f"{name}.bias")}


def rms_norm(name: str) -> Table:
    """A normalisation with a scale alone."""
    return {"scale": same(f"{name}.weight")}


def _turned(tensor: Any) -> Any:
    return tensor.T


def _only(tensor: Any) -> Any:
    return tensor[0]


def _rows_of_three(tensor: Any) -> Any:
    return tensor.reshape(3, -1)


def _kernels_of_three(tensor: Any) -> Any:
    return tensor.reshape(3, -1, tensor.shape[1]).swapaxes(1, 2)


def _patches(tensor: Any) -> Any:
    return tensor.reshape(tensor.shape[0], -1).T


def _channels_last(tensor: Any) -> Any:
    return tensor.transpose(-2, -1, *range(2, tensor.ndim - 2), 1, 0)


def _row(tensor: Any) -> Any:
    return tensor.reshape(-1)
