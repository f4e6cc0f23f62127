"""Videos to latents and back: whole, or piece by piece with the state in one's hands.

Everything here is pure and may stand inside another `jax.jit`; by itself, each call is
one compiled program for each configuration and each shape. What begins a stream is
another program than what goes on with it.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.meshes.explicit import under_automatic_axes

from .checks import check_latents, check_piece, check_state, check_video
from .network.config import WanVAEConfig
from .network.logical_axes import by_rows
from .network.parameters import bind, weight_shapes
from .network.vae import State, WanVAE


def encode(config: WanVAEConfig, weights: Any, video: jax.Array) -> jax.Array:
    """Encodes a video; the means are taken, no noise is drawn.

    The original's loop, as one program: the first frame, then a `jax.lax.scan` over
    pieces of four.

    Args:
        config: the VAE's.
        weights: as from `init_weights` or `load_params`; any floating dtype.
        video: (B, 3, F, H, W) floats in [-1, 1], rows and columns multiples of
            ``config.spatial_stride``. Frames that fill no piece of four behind the
            first one are passed over, as in the original.

    Returns:
        Latents (B, z, 1 + (F - 1) // 4, H / stride, W / stride) in the configuration's
        dtype, normalised by channel. (Time halved twice, as in the released sizes.)

    Raises:
        ValueError: for a video of another shape or dtype, or foreign weights.
    """
    check_video(config, video)
    return _encode(config, weights, fresh_encoder(config), video)[1]


def decode(config: WanVAEConfig, weights: Any, latents: jax.Array) -> jax.Array:
    """Decodes latents, one latent frame after the other in a `jax.lax.scan`.

    Args:
        config: the VAE's.
        weights: as in `encode`.
        latents: (B, z, f, h, w), normalised as `encode` gives them.

    Returns:
        Video (B, 3, 4 f - 3, H, W) in the configuration's dtype, not clamped: the
        original's pipelines clamp to [-1, 1].

    Raises:
        ValueError: for latents of another shape or dtype, or foreign weights.
    """
    check_latents(config, latents)
    return _decode(config, weights, fresh_decoder(config), latents)[1]


def encode_piece(
    config: WanVAEConfig, weights: Any, state: State, video: jax.Array
) -> tuple[State, jax.Array]:
    """Goes on encoding a stream.

    Args:
        config: the VAE's.
        weights: as in `encode`.
        state: `fresh_encoder`, or as the piece before gave it.
        video: (B, 3, F, H, W), 1 + 4 k frames where the stream begins and 4 k later.

    Returns:
        The state for the next piece; latents as from `encode`. All pieces together are
        what `encode` gives for the whole, however it was cut.

    Raises:
        ValueError: for a piece of another shape, dtype or number of frames, or the
            state of another stream.
    """
    _check_tuple(state, "fresh_encoder")
    check_piece(config, state, video)
    batch, _, _, height, width = np.shape(video)
    wanted = encoder_slots(config, batch, height, width)
    check_state(config, state, wanted, f"{batch} videos of {height} x {width}")
    return _encode(config, weights, state, video)


def decode_piece(
    config: WanVAEConfig, weights: Any, state: State, latents: jax.Array
) -> tuple[State, jax.Array]:
    """Goes on decoding a stream.

    Args:
        config: the VAE's.
        weights: as in `encode`.
        state: `fresh_decoder`, or as the piece before gave it.
        latents: (B, z, f, h, w), any number of frames.

    Returns:
        The state for the next piece; the video (B, 3, F, H, W), four frames for each
        latent one, and one for the stream's first.

    Raises:
        ValueError: for latents of another shape or dtype, or the state of another
            stream.
    """
    _check_tuple(state, "fresh_decoder")
    check_latents(config, latents)
    batch, _, _, height, width = np.shape(latents)
    wanted = decoder_slots(config, batch, height, width)
    check_state(config, state, wanted, f"{batch} latents of {height} x {width}")
    return _decode(config, weights, state, latents)


def fresh_encoder(config: WanVAEConfig) -> State:
    """The state of a stream to encode before its first piece: no slot holds anything.

    Args:
        config: the VAE's.

    Returns:
        None for each slot.
    """
    return (None,) * _slots(config)[0]


def fresh_decoder(config: WanVAEConfig) -> State:
    """The state of a stream to decode before its first piece: no slot holds anything.

    Args:
        config: the VAE's.

    Returns:
        None for each slot.
    """
    return (None,) * _slots(config)[1]


@lru_cache(maxsize=64)
def encoder_slots(
    config: WanVAEConfig, batch: int, height: int, width: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What a stream to encode remembers once it has begun; nothing is computed.

    Args:
        config: the VAE's.
        batch: videos side by side.
        height: rows of pixels.
        width: columns of pixels.

    Returns:
        A struct for each slot, in order of execution.
    """
    video = jax.ShapeDtypeStruct((batch, 3, 1, height, width), jnp.float32)
    step = partial(_encode, config)
    weights, state = weight_shapes(config), fresh_encoder(config)
    return jax.eval_shape(step, weights, state, video)[0]


@lru_cache(maxsize=64)
def decoder_slots(
    config: WanVAEConfig, batch: int, height: int, width: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What a stream to decode remembers once it has begun; nothing is computed.

    Args:
        config: the VAE's.
        batch: videos side by side.
        height: rows of latents.
        width: columns of latents.

    Returns:
        A struct for each slot, in order of execution.
    """
    shape = (batch, config.z_dim, 1, height, width)
    latents = jax.ShapeDtypeStruct(shape, jnp.float32)
    step = partial(_decode, config)
    weights, state = weight_shapes(config), fresh_decoder(config)
    return jax.eval_shape(step, weights, state, latents)[0]


@partial(jax.jit, static_argnames="config")
def _encode(
    config: WanVAEConfig, weights: Any, state: State, video: jax.Array
) -> tuple[State, jax.Array]:
    def run(given: Any) -> tuple[State, jax.Array]:
        weights, state, video = given
        return bind(config, weights).encode(state, video)

    return under_automatic_axes(run, (weights, state, video), by_rows)


@partial(jax.jit, static_argnames="config")
def _decode(
    config: WanVAEConfig, weights: Any, state: State, latents: jax.Array
) -> tuple[State, jax.Array]:
    def run(given: Any) -> tuple[State, jax.Array]:
        weights, state, latents = given
        return bind(config, weights).decode(state, latents)

    return under_automatic_axes(run, (weights, state, latents), by_rows)


@lru_cache(maxsize=64)
def _slots(config: WanVAEConfig) -> tuple[int, int]:
    """How many slots the encoder and the decoder have."""
    vae: WanVAE = bind(config, weight_shapes(config))
    return len(vae.fresh_encoder), len(vae.fresh_decoder)


def _check_tuple(state: Any, fresh: str) -> None:
    if not isinstance(state, tuple):
        raise ValueError(
            f"state is a {type(state).__name__}; give {fresh}(config) where a stream "
            "begins, and later what the piece before gave back"
        )
