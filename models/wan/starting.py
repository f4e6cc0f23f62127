"""What a film begins from that is not all noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..encoders.frozen import FrozenEncoders
from ..pictures import fit_picture
from .asking import Asked


def begun_from(encoders: FrozenEncoders, asked: Asked) -> jax.Array:
    """A video's latent, a row for each prompt.

    Args:
        encoders: with the VAE.
        asked: with the video.

    Returns:
        float32 (B, C, f, h, w), for `sample`'s ``init_sample``.
    """
    _, rows, columns = asked.size
    assert asked.video is not None
    fitted = [fit_picture(x, (rows, columns), asked.fit) for x in asked.video]
    film = jnp.asarray(np.stack(fitted, axis=1))[None]
    return jnp.repeat(encoders.latents(film), len(asked.prompts), axis=0)
