"""An invertible stand-in for a video VAE: 4x4 space to depth, centred and scaled."""

import jax

PATCH = 4
CHANNELS = PATCH * PATCH * 3
SCALE = 3.0


def encode(frames: jax.Array) -> jax.Array:
    """Frames to latents.

    Args:
      frames: float32 (B, F, H, W, 3) in [0, 1], H and W multiples of 4.

    Returns:
      float32 (B, 48, F, H / 4, W / 4): a cell's pixels as channels (row, column,
      colour, the last fastest), times 3 after subtracting 0.5.

    Raises:
      ValueError: if H or W is not a multiple of 4, or there are not 3 colours.
    """
    batch, length, height, width, colours = frames.shape
    if height % PATCH or width % PATCH or colours != 3:
        raise ValueError(
            f"frames must be (B, F, H, W, 3) with H and W multiples of {PATCH}, "
            f"got {frames.shape}"
        )
    cells = (frames - 0.5) * SCALE
    cells = cells.reshape(
        batch, length, height // PATCH, PATCH, width // PATCH, PATCH, 3
    )
    cells = cells.transpose(0, 3, 5, 6, 1, 2, 4)
    return cells.reshape(batch, CHANNELS, length, height // PATCH, width // PATCH)


def decode(latents: jax.Array) -> jax.Array:
    """Latents to frames, the inverse of `encode`.

    Args:
      latents: float32 (B, 48, F, h, w).

    Returns:
      float32 (B, F, 4 h, 4 w, 3), not clipped.

    Raises:
      ValueError: if there are not 48 channels.
    """
    batch, channels, length, height, width = latents.shape
    if channels != CHANNELS:
        raise ValueError(
            f"latents must be (B, {CHANNELS}, F, h, w), got {latents.shape}"
        )
    cells = latents.reshape(batch, PATCH, PATCH, 3, length, height, width)
    cells = cells.transpose(0, 4, 5, 1, 6, 2, 3)
    frames = cells.reshape(batch, length, height * PATCH, width * PATCH, 3)
    return frames / SCALE + 0.5
