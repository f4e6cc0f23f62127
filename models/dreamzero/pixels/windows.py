"""When a window of frames begins, and which frames the VAE then is shown.

The original counts latent frames in ``current_start_frame`` (csf). At 0 a window
begins with one frame; else the frames since the last call go on with it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_REPEATED = 4
_WHOLE = 9


def begins(csf: int, window: int, *, new_prompt: bool, frames: int) -> bool:
    """Whether a control step begins a window.

    Args:
        csf: latent frames of the window that are past or imagined.
        window: as many as attention spans, the original's ``local_attn_size``.
        new_prompt: whether the token ids changed, or there were none.
        frames: how many the model is shown.

    Returns:
        True for a new prompt, a single frame, a full window and one not yet begun.
    """
    return new_prompt or frames == 1 or csf == 0 or csf >= window


def seed(canvases: jax.Array) -> jax.Array:
    """The frame that a window begins with.

    Args:
        canvases: (B, T, H, W, 3).

    Returns:
        (B, 1, H, W, 3): the last where T is 4 or 9, else the first.
    """
    last = canvases.shape[1] in (_REPEATED, _WHOLE)
    return canvases[:, -1:] if last else canvases[:, :1]


def frames_at_first(window: int, conditioned: bool) -> int:
    """Frames that are encoded where a window begins.

    Args:
        window: latent frames that attention spans.
        conditioned: whether the model looks at latents of the frames to come, as the
            14B one does alone.

    Returns:
        One; or all of the window, those behind the first of zeros.
    """
    return 4 * (window - 1) + 1 if conditioned else 1


def with_zeros(video: jax.Array, frames: int) -> jax.Array:
    """A window's first frame, and zeros (grey) for the frames to come.

    Args:
        video: (B, 3, 1, H, W) in [-1, 1].
        frames: of the result.

    Returns:
        (B, 3, frames, H, W).
    """
    behind = (0, frames - 1)
    return jnp.pad(video, ((0, 0), (0, 0), behind, (0, 0), (0, 0)))


def for_latents(video: jax.Array) -> jax.Array:
    """The frames since the last call, as a stream of the VAE's pieces.

    Args:
        video: (B, 3, T, H, W); T is 4, 8 or 9.

    Returns:
        (B, 3, 9, H, W): of 4 frames each twice; the first once more in front unless
        there are 9. Encoded, these are 3 latent frames, of which the last 2 are read.

    Raises:
        ValueError: for another number of frames.
    """
    frames = video.shape[2]
    if frames not in (_REPEATED, _WHOLE - 1, _WHOLE):
        raise ValueError(
            f"a window goes on with 4, 8 or 9 frames, got {frames} in {video.shape}"
        )
    if frames == _REPEATED:
        video = jnp.repeat(video, 2, axis=2)
    if frames != _WHOLE:
        video = jnp.concatenate([video[:, :, :1], video], axis=2)
    return video


def conditioning(latents: jax.Array) -> jax.Array:
    """The latents that the 14B model has beside its video, with their mask.

    Args:
        latents: (B, z, n, h, w) of a window's first frame and zeros.

    Returns:
        (B, 4 + z, n, h, w): four channels of mask, 1 where a latent frame is of what
        was seen, which is the first.
    """
    batch, _, frames, *size = latents.shape
    mask = jnp.zeros((batch, 4, frames, *size), latents.dtype)
    return jnp.concatenate([mask.at[:, :, 0].set(1), latents], axis=1)
