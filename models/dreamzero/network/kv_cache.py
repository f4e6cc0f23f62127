"""Keys and values of the frames a sequence has seen, in a ring of fixed size."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_stepcache.checkpoints.layers import (
    Layers,
    is_apart,
    put_together,
    taken_apart,
)
from jax_stepcache.meshes.varying import scan

from ...layers.attention import KeysValues
from ...layers.stack import for_each, shape_of_one
from ...layers.window_attention import Seen
from .config import DreamZeroConfig


class KVCache(NamedTuple):
    """Rotated keys and plain values of video tokens, per layer.

    Frame n of a sequence lies in slot n modulo the number of slots, so the cache
    is allocated once, is written in place, and forgets the oldest frames by
    itself. Attention does not care for the order of its keys.

    All of it is finite: what is masked still meets a factor of zero, and zero times a
    NaN that a camera once sent would be one for ever. A frame that had one is kept as
    zeros, and noted; who attends to it gets NaN.

    Attributes:
        k: (layers, B, slots * frame_seqlen, heads, head_dim), after rotation; or
            `Layers`, as the weights are.
        v: like ``k``.
        length: (B,) int32, frames written since the sequence began (not only
            those still held). Samples of a batch may be at different positions.
        broken: (B, slots) bool, which frames were not finite.
    """

    k: Any
    v: Any
    length: jax.Array
    broken: jax.Array

    @classmethod
    def empty(
        cls,
        config: DreamZeroConfig,
        batch: int,
        *,
        frames: int | None = None,
        dtype: DTypeLike | None = None,
        apart: bool = False,
    ) -> KVCache:
        """Allocates a cache with nothing in it.

        Args:
            config: the model's.
            batch: sequences B.
            frames: slots; the model's whole window unless given. Fewer are enough
                for one that never sees more frames, and cost less attention.
            dtype: of keys and values; the dtype of activations unless given.
            apart: whether each layer has arrays of its own.

        Returns:
            The cache, with length 0.

        Raises:
            ValueError: if there are fewer than one or more than the window's
                frames.
        """
        frames = config.window if frames is None else frames
        if not 1 <= frames <= config.window:
            raise ValueError(
                f"a cache holds 1 to {config.window} frames (the window), got {frames}"
            )
        dtype = config.dtype if dtype is None else dtype
        struct = cache_struct(config, batch, frames, dtype, apart)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), struct)


def cache_struct(
    config: DreamZeroConfig, batch: int, frames: int, dtype: DTypeLike, apart: bool
) -> KVCache:
    """Shapes and dtypes of a cache; arguments are those of `KVCache.empty`."""
    kv = keys_values_struct(config, batch, frames * config.frame_seqlen, dtype, apart)
    struct: Any = jax.ShapeDtypeStruct
    length, broken = struct((batch,), jnp.int32), struct((batch, frames), jnp.bool_)
    return KVCache(kv.k, kv.v, length, broken)


def keys_values_struct(
    config: DreamZeroConfig, batch: int, tokens: int, dtype: DTypeLike, apart: bool
) -> KeysValues:
    """Shapes and dtypes of all layers' keys and values of so many tokens."""
    one = (batch, tokens, config.num_heads, config.head_dim)
    struct: Any = jax.ShapeDtypeStruct
    layers: Any = struct((config.num_layers, *one), dtype)
    if apart:
        layers = Layers([struct(one, dtype)] * config.num_layers)
    return KeysValues(layers, layers)


def slots(config: DreamZeroConfig, cache: KVCache) -> int:
    """Frames that a cache has room for."""
    return shape_of_one(cache.k)[1] // config.frame_seqlen


def visible(
    config: DreamZeroConfig, cache: KVCache, new_frames: int | jax.Array
) -> jax.Array:
    """Which cached frames a forward over new frames attends to.

    The window holds the new frames and as many older ones as fit.

    Args:
        config: the model's.
        cache: the cache.
        new_frames: frames of the forward, () or (B,).

    Returns:
        (B, slots) bool.
    """
    room = slots(config, cache)
    slot = jnp.arange(room, dtype=jnp.int32)[None]
    length = cache.length[:, None]
    end = length + jnp.reshape(jnp.asarray(new_frames, jnp.int32), (-1, 1))
    # The latest frame before `length` that lies in this slot; negative if none.
    frame = length - 1 - jnp.remainder(length - 1 - slot, room)
    return (frame >= 0) & (frame >= end - config.window)


def attended(
    config: DreamZeroConfig,
    cache: KVCache,
    new_frames: jax.Array | None,
    frames: int,
    tokens: int,
    filling: int = 0,
) -> Seen:
    """Which keys the tokens of a forward attend to: cached ones, then their own.

    Args:
        config: the model's.
        cache: the cache.
        new_frames: (B or 1,) int, how many of the frames are there; the others, which
            fill up a shorter sequence, are not attended to. None for all of them.
        frames: frames of the forward.
        tokens: its tokens: those of the frames, then actions and states.
        filling: further tokens after these, which nobody attends to.

    Returns:
        What each sequence's tokens see.
    """
    count = jnp.full((1,), frames, jnp.int32) if new_frames is None else new_frames
    there = jnp.arange(frames, dtype=jnp.int32)[None] < count[:, None]
    own = jnp.repeat(there, config.frame_seqlen, axis=1)
    registers = tokens - frames * config.frame_seqlen
    own = jnp.pad(own, ((0, 0), (0, registers)), constant_values=True)
    own = jnp.pad(own, ((0, 0), (0, filling)))
    batch, room = cache.length.shape[0], slots(config, cache)
    seen = visible(config, cache, count)
    mask = jnp.concatenate(
        [
            jnp.repeat(seen, config.frame_seqlen, axis=1),
            jnp.broadcast_to(own, (batch, tokens + filling)),
        ],
        axis=1,
    )[:, None, None]
    # Slots are filled from the first, and none is too old where all are in the window.
    if room > config.window - frames or (new_frames is not None and registers):
        return Seen(mask)
    held = jnp.minimum(cache.length, room) * config.frame_seqlen
    if new_frames is None:
        there = jnp.full((batch,), tokens, jnp.int32) if filling else None
        return Seen(mask, held, there)
    there = jnp.broadcast_to(new_frames, (batch,)) * config.frame_seqlen
    return Seen(mask, held, there)


def sees_broken(
    config: DreamZeroConfig,
    cache: KVCache,
    new_frames: jax.Array | None,
    frames: int,
) -> jax.Array:
    """Whether a forward attends to a frame that was not finite.

    Args:
        config: the model's.
        cache: the cache.
        new_frames: see `attended`.
        frames: likewise.

    Returns:
        (B,) bool.
    """
    seen = visible(config, cache, frames if new_frames is None else new_frames)
    return (seen & cache.broken).any(axis=1)


def append(
    config: DreamZeroConfig,
    cache: KVCache,
    k: Any,
    v: Any,
    num_frames: jax.Array | None = None,
    branches: int = 1,
) -> KVCache:
    """Writes the next frames of every sequence.

    Args:
        config: the model's.
        cache: the cache.
        k: (layers, B, frames * frame_seqlen, heads, head_dim), after rotation; stacked
            or apart.
        v: like ``k``.
        num_frames: (B,) int32, how many of the frames each sequence writes, at least 1;
            all of them unless given.
        branches: guidance branches: so many equal parts of the rows are at the same
            positions.

    Returns:
        The cache with these frames in it; the buffers are reused when donated.
    """
    k, v = (taken_apart if is_apart(cache.k) else put_together)([k, v])
    rows, tokens, *_ = shape_of_one(k)
    size, room = config.frame_seqlen, slots(config, cache)
    frames, robots = tokens // size, rows // branches
    count = frames if num_frames is None else num_frames
    written = jnp.broadcast_to(jnp.asarray(count, jnp.int32), (rows,))
    finite = _finite_frames(k, frames) & _finite_frames(v, frames)
    # Zero, which XLA cannot know before the last layer has its keys, and so all layers
    # have read the cache: what it might write to earlier it would copy.
    zero = jnp.minimum((~finite).sum(dtype=jnp.int32), 0)

    def write(robot: jax.Array | int, kv: KeysValues) -> KeysValues:
        def one(buffer: jax.Array, new: jax.Array) -> jax.Array:
            # Not by row: where the branches lie on different devices, nothing moves.
            parts = buffer.reshape(branches, robots, *buffer.shape[1:])
            new = new.reshape(branches, robots, frames, size, *new.shape[2:])
            # From the last: what is there only to fill up lands where the last of the
            # others will.
            for frame in reversed(range(frames)):
                lands = cache.length[robot] + jnp.minimum(frame, written[robot] - 1)
                slot = jnp.remainder(lands, room) * size + zero
                at = [jnp.asarray(x, jnp.int32) for x in (0, robot, slot, 0, 0)]
                part = jax.lax.dynamic_slice_in_dim(new[:, :, frame], robot, 1, axis=1)
                part = jnp.where(jnp.isfinite(part), part, 0).astype(buffer.dtype)
                parts = jax.lax.dynamic_update_slice(parts, part, at)
            return parts.reshape(buffer.shape)

        return for_each(one, kv, KeysValues(k, v))

    # Slice by slice: what selects among all of the cache copies it.
    kv = KeysValues(cache.k, cache.v)
    if robots == 1:
        kv = write(0, kv)
    else:
        each = jnp.arange(robots)
        kv, _ = scan(lambda kv, robot: (write(robot, kv), None), kv, each, robots)
    slot = jnp.arange(room, dtype=jnp.int32)[None]
    broken = cache.broken
    for frame in range(frames):
        here = jnp.remainder(cache.length[:, None] + frame, room) == slot
        here &= (frame < written)[:, None]
        broken = jnp.where(here, ~finite[:, frame, None], broken)
    return KVCache(kv.k, kv.v, cache.length + written, broken)


def _finite_frames(x: Any, frames: int) -> jax.Array:
    """Which frames (B, frames) are finite, by the last layer.

    A layer's number that is not finite reaches all tokens of the next.
    """
    last = x[-1]
    return jnp.isfinite(last).reshape(last.shape[0], frames, -1).all(axis=-1)
