"""What videos, latents and states must look like; said before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_floating

from .network.config import PIECE, WanVAEConfig
from .network.vae import State, is_fresh


def check_video(config: WanVAEConfig, video: Any) -> None:
    """Checks a video to encode.

    Args:
        config: the VAE's.
        video: (B, 3, F, H, W).

    Raises:
        ValueError: naming what is wrong, what came and what is wanted.
    """
    shape = np.shape(video)
    if len(shape) != 5 or shape[1] != 3 or 0 in shape:
        raise ValueError(f"video has shape {shape}; give (B, 3, frames, rows, columns)")
    stride = config.spatial_stride
    if shape[3] % stride or shape[4] % stride:
        raise ValueError(
            f"video has frames of {shape[3]} x {shape[4]}; a latent has {stride} x "
            f"{stride} pixels, so rows and columns must be multiples of {stride}"
        )
    if jnp.issubdtype(jax.dtypes.result_type(video), jnp.integer):
        raise ValueError(
            f"video has dtype {jax.dtypes.result_type(video)}; give floats in [-1, 1]: "
            "pixels / 127.5 - 1"
        )
    check_floating(video, "video")


def check_latents(config: WanVAEConfig, latents: Any) -> None:
    """Checks latents to decode.

    Args:
        config: the VAE's.
        latents: (B, z, f, h, w).

    Raises:
        ValueError: naming what is wrong, what came and what is wanted.
    """
    shape = np.shape(latents)
    if len(shape) != 5 or shape[1] != config.z_dim or 0 in shape:
        raise ValueError(
            f"latents have shape {shape}; give (B, {config.z_dim}, frames, rows, "
            "columns)"
        )
    check_floating(latents, "latents")


def check_piece(config: WanVAEConfig, state: State, video: Any) -> None:
    """Checks that a piece of a video goes on where its stream stands.

    Args:
        config: the VAE's.
        state: the stream's.
        video: (B, 3, F, H, W).

    Raises:
        ValueError: naming what is wrong, what came and what is wanted.
    """
    check_video(config, video)
    frames, first = np.shape(video)[2], int(is_fresh(state))
    if frames < first or (frames - first) % PIECE:
        wanted = "1 + 4 k frames where a stream begins" if first else "4 k frames"
        raise ValueError(f"the piece has {frames} frames; give {wanted}")


def check_state(config: WanVAEConfig, state: Any, wanted: Any, given: str) -> None:
    """Checks what a stream remembers against what it would after a piece like this.

    Args:
        config: the VAE's.
        state: the stream's.
        wanted: structs of the slots of a stream of such pieces that has begun.
        given: what the pieces are, for the error.

    Raises:
        ValueError: if it is no state, or of another stream.
    """
    if not isinstance(state, tuple) or len(state) != len(wanted):
        kind = type(state).__name__
        count = f" of {len(state)}" if isinstance(state, tuple) else ""
        raise ValueError(
            f"state is a {kind}{count}; give what the piece before gave back, a tuple "
            f"of {len(wanted)} slots"
        )
    if is_fresh(state):
        return
    for i, (slot, want) in enumerate(zip(state, wanted, strict=True)):
        if slot is None or np.shape(slot) != want.shape:
            has = "None" if slot is None else f"of shape {np.shape(slot)}"
            raise ValueError(
                f"state[{i}] is {has}; a stream of {given} has {want.shape} there"
            )
        if jax.dtypes.result_type(slot) != want.dtype:
            raise ValueError(
                f"state[{i}] has dtype {jax.dtypes.result_type(slot)}; the VAE works "
                f"in {config.dtype}"
            )
