"""Keys and values of the frames a sequence has seen, in a ring of fixed size."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from .config import DreamZeroConfig


class KVCache(NamedTuple):
    """Rotated keys and plain values of video tokens, per layer.

    Frame n of a sequence lies in slot n modulo the number of slots, so the cache
    is allocated once, is written in place, and forgets the oldest frames by
    itself. Attention does not care for the order of its keys.

    Attributes:
        k: (layers, B, slots * frame_seqlen, heads, head_dim), after rotation.
        v: like ``k``.
        length: (B,) int32, frames written since the sequence began (not only
            those still held). Samples of a batch may be at different positions.
    """

    k: jax.Array
    v: jax.Array
    length: jax.Array

    @classmethod
    def empty(
        cls,
        config: DreamZeroConfig,
        batch: int,
        *,
        frames: int | None = None,
        dtype: DTypeLike | None = None,
    ) -> KVCache:
        """Allocates a cache with nothing in it.

        Args:
            config: the model's.
            batch: sequences B.
            frames: slots; the model's whole window unless given. Fewer are enough
                for one that never sees more frames, and cost less attention.
            dtype: of keys and values; the dtype of activations unless given.

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
        tokens = frames * config.frame_seqlen
        shape = (config.num_layers, batch, tokens, config.num_heads, config.head_dim)
        zeros = jnp.zeros(shape, config.dtype if dtype is None else dtype)
        return cls(zeros, jnp.zeros_like(zeros), jnp.zeros(batch, jnp.int32))


def slots(config: DreamZeroConfig, cache: KVCache) -> int:
    """Frames that a cache has room for."""
    return cache.k.shape[2] // config.frame_seqlen


def visible(
    config: DreamZeroConfig, cache: KVCache, new_frames: int | jax.Array
) -> jax.Array:
    """Which cached tokens a forward over new frames attends to.

    The window holds the new frames and as many older ones as fit.

    Args:
        config: the model's.
        cache: the cache.
        new_frames: frames of the forward, () or (B,).

    Returns:
        (B, slots * frame_seqlen) bool.
    """
    room = slots(config, cache)
    slot = jnp.arange(room, dtype=jnp.int32)[None]
    length = cache.length[:, None]
    end = length + jnp.reshape(jnp.asarray(new_frames, jnp.int32), (-1, 1))
    # The latest frame before `length` that lies in this slot; negative if none.
    frame = length - 1 - jnp.remainder(length - 1 - slot, room)
    kept = (frame >= 0) & (frame >= end - config.window)
    return jnp.repeat(kept, config.frame_seqlen, axis=1)


def attended(
    config: DreamZeroConfig,
    cache: KVCache,
    new_frames: jax.Array,
    frames: int,
    tokens: int,
) -> jax.Array:
    """Which keys the tokens of a forward attend to: cached ones, then their own.

    Args:
        config: the model's.
        cache: the cache.
        new_frames: (B or 1, 1) int, how many of the frames are there; the others, which
            fill up a shorter sequence, are not attended to.
        frames: frames of the forward.
        tokens: its tokens: those of the frames, then actions and states.

    Returns:
        (B, slots * frame_seqlen + tokens) bool.
    """
    there = jnp.arange(frames, dtype=jnp.int32)[None] < new_frames
    own = jnp.repeat(there, config.frame_seqlen, axis=1)
    video = frames * config.frame_seqlen
    own = jnp.pad(own, ((0, 0), (0, tokens - video)), constant_values=True)
    batch = cache.length.shape[0]
    return jnp.concatenate(
        [
            visible(config, cache, new_frames[:, 0]),
            jnp.broadcast_to(own, (batch, tokens)),
        ],
        axis=1,
    )


def append(
    config: DreamZeroConfig,
    cache: KVCache,
    k: jax.Array,
    v: jax.Array,
    num_frames: jax.Array | None = None,
) -> KVCache:
    """Writes the next frames of every sequence.

    Args:
        config: the model's.
        cache: the cache.
        k: (layers, B, frames * frame_seqlen, heads, head_dim), after rotation.
        v: like ``k``.
        num_frames: (B,) int32, how many of the frames each sequence writes; all of
            them unless given.

    Returns:
        The cache with these frames in it; the buffers are reused when donated.
    """
    frames = k.shape[2] // config.frame_seqlen
    room = slots(config, cache)
    slot = jnp.arange(room, dtype=jnp.int32)[None]
    # Selected, not scattered: XLA turns a scatter into a loop over its indices on a
    # CPU, and its gradient likewise, which cost more than the whole network.
    count = frames if num_frames is None else num_frames
    written = jnp.asarray(count, jnp.int32).reshape(-1, 1)
    lands = [
        (
            (jnp.remainder(cache.length[:, None] + frame, room) == slot)
            & (frame < written)
        )[None, ..., None]
        for frame in range(frames)
    ]

    def write(buffer: jax.Array, new: jax.Array) -> jax.Array:
        layers, batch, _, *head = buffer.shape
        by_slot = buffer.reshape(layers, batch, room, config.frame_seqlen, *head)
        by_frame = new.astype(buffer.dtype).reshape(
            layers, batch, frames, config.frame_seqlen, *head
        )
        for frame, here in enumerate(lands):
            where = here.reshape(*here.shape, 1, 1)
            by_slot = jnp.where(where, by_frame[:, :, frame, None], by_slot)
        return by_slot.reshape(buffer.shape)

    return KVCache(write(cache.k, k), write(cache.v, v), cache.length + written[:, 0])
