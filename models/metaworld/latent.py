"""A fixed stand-in for a video VAE: each cell's lowest frequencies.

A picture is cut into cells of 8 x 8 pixels, as a VAE's are, and each cell is turned by
the discrete cosine transform of its brightness and two colour differences, as JPEG
does. Of 192 numbers the 48 of the lowest frequencies are kept, with which pictures of
the simulator are 29 dB from what they were.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

PATCH = 8
# Frequencies (down plus across) below which a component is kept.
_KEPT = (7, 4, 4)
# Brightness, red against blue, green against both; orthonormal.
_COLOURS = np.array(
    [
        [1 / 3**0.5, 1 / 3**0.5, 1 / 3**0.5],
        [1 / 2**0.5, 0.0, -1 / 2**0.5],
        [1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5],
    ]
)


def _basis() -> np.ndarray:
    """float32 (192, 48): pixels (row, column, colour) to channels, before the gains."""
    place = (2 * np.arange(PATCH) + 1) * np.pi / (2 * PATCH)
    wave = np.cos(np.arange(PATCH)[:, None] * place) * (2 / PATCH) ** 0.5
    wave[0] /= 2**0.5
    columns = [
        np.einsum("i,j,c->ijc", wave[down], wave[across], colour).reshape(-1)
        for colour, kept in zip(_COLOURS, _KEPT, strict=True)
        for down in range(kept)
        for across in range(kept - down)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _gains() -> np.ndarray:
    """float32 (48,): pictures have less of a frequency the higher it is."""
    return np.array(
        [
            1 + down + across
            for kept in _KEPT
            for down in range(kept)
            for across in range(kept - down)
        ],
        np.float32,
    )


CHANNELS = len(_gains())


def encode(frames: jax.Array) -> jax.Array:
    """Frames to latents.

    Args:
        frames: float32 (B, F, H, W, 3) in [0, 1], H and W multiples of 8.

    Returns:
        float32 (B, 48, F, H / 8, W / 8).

    Raises:
        ValueError: if H or W is not a multiple of 8, or there are not 3 colours.
    """
    batch, length, height, width, colours = frames.shape
    if height % PATCH or width % PATCH or colours != 3:
        raise ValueError(
            f"frames must be (B, F, H, W, 3) with H and W multiples of {PATCH}, "
            f"got {frames.shape}"
        )
    cells = (frames - 0.5).reshape(
        batch, length, height // PATCH, PATCH, width // PATCH, PATCH, 3
    )
    cells = cells.transpose(0, 1, 2, 4, 3, 5, 6)
    cells = cells.reshape(*cells.shape[:4], PATCH * PATCH * 3)
    return jnp.moveaxis(cells @ (_basis() * _gains()), -1, 1)


def decode(latents: jax.Array) -> jax.Array:
    """Latents to frames; `encode` of these gives the latents again.

    Args:
        latents: float32 (B, 48, F, h, w).

    Returns:
        float32 (B, F, 8 h, 8 w, 3), not clipped.

    Raises:
        ValueError: if there are not 48 channels.
    """
    batch, channels, length, height, width = latents.shape
    if channels != CHANNELS:
        raise ValueError(
            f"latents must be (B, {CHANNELS}, F, h, w), got {latents.shape}"
        )
    cells = jnp.moveaxis(latents, 1, -1) @ (_basis() / _gains()).T
    cells = cells.reshape(batch, length, height, width, PATCH, PATCH, 3)
    cells = cells.transpose(0, 1, 2, 4, 3, 5, 6)
    return cells.reshape(batch, length, height * PATCH, width * PATCH, 3) + 0.5
