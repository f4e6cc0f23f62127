"""What a film is given beside its prompt: masks, condition latents, a first frame."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

LatentSize = tuple[int, int, int]
"""Frames, rows and columns of a latent."""


def given_frames(
    first: jax.Array, frames: int, last: jax.Array | None = None
) -> jax.Array:
    """The video whose latent is the condition: given pictures, and grey between.

    Args:
        first: float32 (B, 3, H, W) in [-1, 1].
        frames: of the film.
        last: likewise, or None.

    Returns:
        float32 (B, 3, frames, H, W).
    """
    ends = [first[:, :, None]] + ([] if last is None else [last[:, :, None]])
    batch, channels, height, width = first.shape
    between = (batch, channels, frames - len(ends), height, width)
    return jnp.concatenate([ends[0], jnp.zeros(between, first.dtype), *ends[1:]], 2)


def given_mask(
    latent: LatentSize, *, last: bool = False, stride: int = 4
) -> np.ndarray:
    """Which pixel frames are given, those of each latent frame as channels.

    The first frame fills a latent frame by itself, so there it is said ``stride``
    times.

    Args:
        latent: the film's.
        last: whether the last frame is given, too.
        stride: pixel frames to a latent one.

    Returns:
        float32 (stride, frames, rows, columns), 1 where a frame is given.
    """
    mask = np.zeros((stride, *latent), np.float32)
    mask[:, 0] = 1
    if last:
        mask[-1, -1] = 1
    return mask


def beside_latent(mask: jax.Array | np.ndarray, condition: jax.Array) -> jax.Array:
    """What enters the transformer beside the latent, at every step.

    Args:
        mask: (stride, f, h, w), see `given_mask`.
        condition: float32 (B, C, f, h, w), the normalised latent of `given_frames`.

    Returns:
        float32 (B, stride + C, f, h, w).
    """
    mask = jnp.broadcast_to(
        jnp.asarray(mask, condition.dtype), (len(condition), *mask.shape)
    )
    return jnp.concatenate([mask, condition], axis=1)


def free_frames(latent: LatentSize) -> np.ndarray:
    """Which latent frames are denoised, where the first one is given.

    Args:
        latent: the film's.

    Returns:
        float32 (1, 1, frames, rows, columns): 0 in the first frame and 1 elsewhere.
    """
    mask = np.ones((1, 1, *latent), np.float32)
    mask[:, :, 0] = 0
    return mask


def with_first(latents: jax.Array, first: jax.Array) -> jax.Array:
    """Latents whose first frame is the given one.

    Args:
        latents: float32 (B, C, f, h, w).
        first: float32 (B, C, 1, h, w).

    Returns:
        Like ``latents``.
    """
    return jnp.concatenate([first.astype(latents.dtype), latents[:, :, 1:]], axis=2)


def normalised(
    latents: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
    """A VAE's mean in the units that the transformer knows: ``(mu - mean) / std``.

    `wan_vae.encode` does it already; this is for latents that came from elsewhere.

    Args:
        latents: float32 (B, C, f, h, w).
        mean: for each channel.
        std: likewise.

    Returns:
        Like ``latents``.
    """
    shape = (1, -1, 1, 1, 1)
    centred = latents - jnp.asarray(mean, latents.dtype).reshape(shape)
    return centred / jnp.asarray(std, latents.dtype).reshape(shape)
