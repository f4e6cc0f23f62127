"""What a film is told of its first and last image, in latents."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def frame_mask(frames: int, stride: int, last: bool) -> np.ndarray:
    """Which pixel frames are given, as channels of latent frames.

    The first pixel frame counts as often as a latent frame has pixel frames, and each
    group of so many becomes the channels of one latent frame.

    Args:
        frames: latent frames.
        stride: pixel frames of a latent one.
        last: whether the last pixel frame is given too, beside the first.

    Returns:
        (stride, frames) float32, ones and zeros.
    """
    given = np.zeros((frames, stride), np.float32)
    given[0] = 1
    if last:
        given[-1, -1] = 1
    return given.T


def normalised(
    latent: jax.Array, mean: Sequence[float], std: Sequence[float]
) -> jax.Array:
    """The VAE's mean (B, C, f, H, W) in the units that the transformer works in."""

    def channels(given: Sequence[float]) -> jax.Array:
        return jnp.asarray(given, latent.dtype).reshape(1, -1, 1, 1, 1)

    return (latent - channels(mean)) / channels(std)


def beside_latent(condition: jax.Array, stride: int, last: bool = False) -> jax.Array:
    """What enters beside the latent: the mask of given frames, then the condition.

    Args:
        condition: (B, C, f, H, W) normalised latent of the film in which the images are
            and all other frames are grey.
        stride: pixel frames of a latent frame.
        last: whether there is a last image, beside the first.

    Returns:
        (B, stride + C, f, H, W).
    """
    batch, _, frames, height, width = condition.shape
    mask = jnp.asarray(frame_mask(frames, stride, last), condition.dtype)
    shape = (batch, stride, frames, height, width)
    mask = jnp.broadcast_to(mask[None, :, :, None, None], shape)
    return jnp.concatenate([mask, condition], axis=1)


def with_first(latent: jax.Array, first: jax.Array) -> jax.Array:
    """A film (B, C, f, H, W) with its first latent frame (B, C, 1, H, W) as given."""
    return jnp.concatenate([first.astype(latent.dtype), latent[:, :, 1:]], axis=2)


def given_frames(
    first: jax.Array, frames: int, last: jax.Array | None = None
) -> jax.Array:
    """The film whose latent is the condition: given images, and grey between.

    Args:
        first: float32 (B, 3, H, W) in [-1, 1].
        frames: of the film, in pixels.
        last: likewise, or None.

    Returns:
        float32 (B, 3, frames, H, W).
    """
    ends = [first[:, :, None]] + ([] if last is None else [last[:, :, None]])
    batch, channels, height, width = first.shape
    grey = jnp.zeros((batch, channels, frames - len(ends), height, width), first.dtype)
    return jnp.concatenate([ends[0], grey, *ends[1:]], axis=2)


def free_frames(latent_size: tuple[int, int, int]) -> np.ndarray:
    """Which latent frames are denoised where the first one is given.

    Args:
        latent_size: frames, rows and columns of the latent.

    Returns:
        float32 (1, 1, frames, rows, columns): 0 in the first frame, 1 elsewhere.
    """
    mask = np.ones((1, 1, *latent_size), np.float32)
    mask[:, :, 0] = 0
    return mask
