"""Pictures in tiles, for those that do not fit: each tile alone, borders blended.

The original's tiles: every tile is encoded or decoded through its whole length as a
stream of its own; where tiles overlap, the mean is taken with weights that rise towards
the inside of each. A latent next to a cut sees zeros where its neighbours would be, and
attention sees one tile only, so what tiles give differs from the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.meshes.explicit import under_automatic_axes

from ..layers.precision import at_least_float32
from ..sizes.counts import require_count
from .checks import check_latents, check_video
from .network.config import WanVAEConfig
from .network.logical_axes import by_rows
from .network.parameters import bind
from .network.vae import WanVAE


@dataclass(frozen=True)
class Tiles:
    """How pictures are cut, in latents. The defaults are the original's.

    Attributes:
        rows: of a tile.
        columns: of a tile.
        row_stride: rows from one tile to the next; the rest of its rows overlap.
        column_stride: columns from one tile to the next.
    """

    rows: int = 34
    columns: int = 34
    row_stride: int = 18
    column_stride: int = 16

    def __post_init__(self) -> None:
        """Checks that tiles leave no gap.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in ("rows", "columns", "row_stride", "column_stride"):
            require_count(name, getattr(self, name))
        for stride, size in (("row_stride", "rows"), ("column_stride", "columns")):
            if getattr(self, stride) > getattr(self, size):
                raise ValueError(
                    f"{stride} is {getattr(self, stride)}, and tiles have "
                    f"{getattr(self, size)} {size}; it must be no more, or there are "
                    "gaps"
                )


def encode_tiled(
    config: WanVAEConfig, weights: Any, video: jax.Array, tiles: Tiles | None = None
) -> jax.Array:
    """Encodes a video tile by tile, in one program.

    Args:
        config: the VAE's.
        weights: as in `encode`.
        video: as in `encode`.
        tiles: how it is cut; as the original does unless given.

    Returns:
        Latents as from `encode`; equal to those where one tile covers all.

    Raises:
        ValueError: as `encode`.
    """
    check_video(config, video)
    return _encode(config, tiles or Tiles(), weights, video)


def decode_tiled(
    config: WanVAEConfig, weights: Any, latents: jax.Array, tiles: Tiles | None = None
) -> jax.Array:
    """Decodes latents tile by tile, in one program.

    Args:
        config: the VAE's.
        weights: as in `encode`.
        latents: as in `decode`.
        tiles: how they are cut; as the original does unless given.

    Returns:
        The video as from `decode`, not clamped; equal to that where one tile covers
        all.

    Raises:
        ValueError: as `decode`.
    """
    check_latents(config, latents)
    return _decode(config, tiles or Tiles(), weights, latents)


@partial(jax.jit, static_argnames=("config", "tiles"))
def _encode(
    config: WanVAEConfig, tiles: Tiles, weights: Any, video: jax.Array
) -> jax.Array:
    def run(given: Any) -> jax.Array:
        weights, video = given
        vae: WanVAE = bind(config, weights)

        def one(tile: jax.Array) -> jax.Array:
            return vae.encode(vae.fresh_encoder, tile)[1]

        return _blended(one, video, tiles, config.spatial_stride, 1)

    return under_automatic_axes(run, (weights, video), by_rows)


@partial(jax.jit, static_argnames=("config", "tiles"))
def _decode(
    config: WanVAEConfig, tiles: Tiles, weights: Any, latents: jax.Array
) -> jax.Array:
    def run(given: Any) -> jax.Array:
        weights, latents = given
        vae: WanVAE = bind(config, weights)

        def one(tile: jax.Array) -> jax.Array:
            return vae.decode(vae.fresh_decoder, tile)[1]

        return _blended(one, latents, tiles, 1, config.spatial_stride)

    return under_automatic_axes(run, (weights, latents), by_rows)


@dataclass(frozen=True)
class _Span:
    """Where a tile lies along an axis, in latents, and whether others lie beside it."""

    start: int
    stop: int
    before: bool
    after: bool

    def ramp(self, border: int, scale: int) -> np.ndarray:
        """Its weights: 1, and from the cuts inwards 1 / n, 2 / n, ..."""
        weights = np.ones((self.stop - self.start) * scale, np.float32)
        rising = np.arange(1, border * scale + 1, dtype=np.float32) / (border * scale)
        if border and self.before:
            weights[: len(rising)] = rising
        if border and self.after:
            weights[len(weights) - len(rising) :] = rising[::-1]
        return weights


def _spans(length: int, size: int, stride: int) -> list[_Span]:
    """Tiles along an axis, until one reaches the end."""
    spans = []
    for start in itertools.count(0, stride):
        stop = min(start + size, length)
        spans.append(_Span(start, stop, start > 0, stop < length))
        if stop == length:
            return spans
    raise AssertionError("a stride is at least 1")


def _alike(
    rows: list[_Span], columns: list[_Span]
) -> Iterator[list[tuple[_Span, _Span]]]:
    """Tiles by their size; those at the lower and right border may be smaller."""

    def size(tile: tuple[_Span, _Span]) -> tuple[int, ...]:
        return tuple(span.stop - span.start for span in tile)

    tiles = sorted(itertools.product(rows, columns), key=size)
    for _, group in itertools.groupby(tiles, key=size):
        yield list(group)


def _blended(
    one: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    tiles: Tiles,
    inside: int,
    outside: int,
) -> jax.Array:
    """The weighted mean of what is made of each tile.

    Args:
        one: makes (B, C', F', ...) of a tile (B, C, F, ...).
        x: (B, C, F, H, W).
        tiles: how it is cut.
        inside: rows and columns of ``x`` to a latent.
        outside: rows and columns of the result to a latent.

    Returns:
        (B, C', F', H / inside * outside, W / inside * outside).
    """
    height, width = x.shape[3] // inside, x.shape[4] // inside
    rows = _spans(height, tiles.rows, tiles.row_stride)
    columns = _spans(width, tiles.columns, tiles.column_stride)
    overlap = tiles.rows - tiles.row_stride, tiles.columns - tiles.column_stride

    def sums(carry: Any, group: list[tuple[_Span, _Span]]) -> Any:
        down, across = (span.stop - span.start for span in group[0])
        starts = np.asarray([[row.start, column.start] for row, column in group])
        ramps = tuple(
            jnp.asarray(
                [tile[axis].ramp(overlap[axis], outside) for tile in group], wide
            )
            for axis in (0, 1)
        )

        def add(carry: Any, tile: Any) -> tuple[Any, None]:
            (top, left), (falling, sideways) = tile
            shape = (*x.shape[:3], down * inside, across * inside)
            cut = (0, 0, 0, top * inside, left * inside)
            made = one(jax.lax.dynamic_slice(x, cut, shape))
            weight = jnp.minimum(falling[:, None], sideways[None, :])
            place = (0, 0, 0, top * outside, left * outside)
            values, weights = carry
            shown = made.astype(wide) * weight.reshape(1, 1, 1, *weight.shape)
            values = _added(values, shown, place)
            return (values, _added(weights, weight, place[3:])), None

        return jax.lax.scan(add, carry, (starts, ramps))[0]

    shape = jax.eval_shape(one, x)
    wide = jax.eval_shape(at_least_float32, shape).dtype
    carry = (jnp.zeros(shape.shape, wide), jnp.zeros(shape.shape[3:], wide))
    for group in _alike(rows, columns):
        carry = sums(carry, group)
    values, weights = carry
    return (values / weights.reshape(1, 1, 1, *weights.shape)).astype(shape.dtype)


def _added(whole: jax.Array, part: jax.Array, place: tuple[Any, ...]) -> jax.Array:
    """An array with another one added at a place."""
    there = jax.lax.dynamic_slice(whole, place, part.shape)
    return jax.lax.dynamic_update_slice(whole, there + part, place)
