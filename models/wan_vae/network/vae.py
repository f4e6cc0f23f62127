"""The VAE: videos to latents and back, as streams that go on from piece to piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from ...layers.linear import Linear
from ...layers.precision import at_least_float32
from .coders import Decoder, Encoder
from .config import PIECE, WanVAEConfig
from .parts import Slots
from .rearranged import folded, unfolded

State = tuple[jax.Array | None, ...]
"""What a stream remembers: a slot (B, frames, h, w, C) for each convolution over time,
in order of execution, as the original numbers them. Those of the encoder's temporal
halvings hold one frame, the others two, with zeros before the first of the stream. All
None before the first piece, which so is another program than the later ones."""


class WanVAE(nnx.Module):
    """Both directions.

    Attributes:
        encoder: frames to the latents' distribution.
        conv1: of its channels, the last map.
        conv2: of latents, the first map.
        decoder: to frames.
        config: the sizes.
    """

    def __init__(self, config: WanVAEConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.conv1 = Linear(2 * config.z_dim, 2 * config.z_dim, rngs=rngs)
        self.conv2 = Linear(config.z_dim, config.z_dim, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.config = config

    def encode(self, state: State, video: jax.Array) -> tuple[State, jax.Array]:
        """Goes on encoding a stream; the means are taken, no noise is drawn.

        Args:
            state: as from the piece before, or all None where the stream begins.
            video: (B, 3, F, H, W) in [-1, 1]: 1 + 4 k frames where the stream begins,
                4 k later.

        Returns:
            The state for the next piece, and latents (B, z, f, h, w), normalised by
            channel: 1 + k or k frames, where time is halved twice.
        """
        frames = jnp.moveaxis(video, 1, -1).astype(self.config.dtype)
        frames = folded(frames, self.config.fold)
        state, moments = _in_pieces(self._encode, state, frames, PIECE)
        return state, jnp.moveaxis(moments, -1, 1)

    def decode(self, state: State, latents: jax.Array) -> tuple[State, jax.Array]:
        """Goes on decoding a stream.

        Args:
            state: as from the piece before, or all None where the stream begins.
            latents: (B, z, f, h, w), normalised as `encode` gives them.

        Returns:
            The state for the next piece, and the video (B, 3, F, H, W), not clamped:
            one frame for the stream's first latent one, and four for each other where
            time is halved twice.
        """
        x = jnp.moveaxis(latents, 1, -1)
        state, video = _in_pieces(self._decode, state, x, 1)
        return state, jnp.moveaxis(unfolded(video, self.config.fold), -1, 1)

    @property
    def fresh_encoder(self) -> State:
        """The state of a stream to encode, before its first piece."""
        return _flat(self.encoder.fresh)

    @property
    def fresh_decoder(self) -> State:
        """The state of a stream to decode, before its first piece."""
        return _flat(self.decoder.fresh)

    def _encode(self, state: State, frames: jax.Array) -> tuple[State, jax.Array]:
        x, slots = self.encoder(frames, _like(state, self.encoder.fresh))
        means = at_least_float32(self.conv1(x)[..., : self.config.z_dim])
        mean, std = _statistics(self.config, means.dtype)
        return _flat(slots), ((means - mean) / std).astype(x.dtype)

    def _decode(self, state: State, latents: jax.Array) -> tuple[State, jax.Array]:
        x = self.conv2(denormalised(self.config, latents))
        video, slots = self.decoder(x, _like(state, self.decoder.fresh))
        return _flat(slots), video


def denormalised(config: WanVAEConfig, latents: jax.Array) -> jax.Array:
    """Latents in the scale that the decoder takes.

    Args:
        config: the VAE's.
        latents: (B, t, h, w, z), each channel of mean 0 and deviation 1.

    Returns:
        The same with the channels' own means and deviations, in the VAE's dtype.
    """
    wide = at_least_float32(latents)
    mean, std = _statistics(config, wide.dtype)
    return (wide * std + mean).astype(config.dtype)


def _statistics(config: WanVAEConfig, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation, (1, 1, 1, 1, z)."""
    mean = config.latents_mean or (0.0,) * config.z_dim
    std = config.latents_std or (1.0,) * config.z_dim
    both = jnp.asarray([mean, std], dtype).reshape(2, 1, 1, 1, 1, config.z_dim)
    return both[0], both[1]


Step = Callable[[State, jax.Array], tuple[State, jax.Array]]


def _in_pieces(
    step: Step, state: State, x: jax.Array, piece: int
) -> tuple[State, jax.Array]:
    """Takes a step of one frame where a stream begins, then those of a piece each.

    Args:
        step: state and (B, T, h, w, C) to a state and (B, t, ...).
        state: all None where the stream begins.
        x: (B, frames, h, w, C); what is no whole piece is passed over.
        piece: frames of a piece.

    Returns:
        The state, and what the steps gave, joined in time.
    """
    done = []
    if is_fresh(state):
        state, first = step(state, x[:, :1])
        done, x = [first], x[:, 1:]
    count = x.shape[1] // piece
    if count:
        pieces = x[:, : count * piece].reshape(-1, count, piece, *x.shape[2:])
        state, rest = jax.lax.scan(step, state, jnp.moveaxis(pieces, 1, 0))
        rest = jnp.moveaxis(rest, 0, 1)
        done.append(rest.reshape(rest.shape[0], -1, *rest.shape[3:]))
    return state, jnp.concatenate(done, axis=1)


def is_fresh(state: State) -> bool:
    """Whether a stream has not begun."""
    return all(slot is None for slot in state)


def _is_none(x: Any) -> bool:
    return x is None


def _flat(slots: Slots) -> State:
    return tuple(jax.tree.leaves(slots, is_leaf=_is_none))


def _like(state: State, fresh: Slots) -> Slots:
    structure = jax.tree.structure(fresh, is_leaf=_is_none)
    return jax.tree.unflatten(structure, state)
