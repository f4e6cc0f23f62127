"""What a film begins from that is not all noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.solvers.strength import noised

from ..encoders.frozen import FrozenEncoders
from .asking import Asked
from .pictures import fit_picture


def begun(encoders: FrozenEncoders, asked: Asked, noise: Any = None) -> jax.Array:
    """A video's latent, as far towards noise as the first step is.

    Args:
        encoders: with the VAE.
        asked: with the video.
        noise: float32 (B, C, f, h, w); drawn by the keys unless given.

    Returns:
        float32 (B, C, f, h, w).
    """
    _, rows, columns = asked.size
    assert asked.video is not None
    fitted = [fit_picture(x, (rows, columns), asked.fit) for x in asked.video]
    film = jnp.asarray(np.stack(fitted, axis=1))[None]
    clean = jnp.repeat(encoders.latents(film), len(asked.prompts), axis=0)
    if noise is None:
        struct = asked.model.noise_struct(1)
        keys = asked.keys.reshape(-1)
        noise = jnp.stack([jax.random.normal(k, struct.shape[1:]) for k in keys])
    return noised(clean, jnp.asarray(noise), asked.schedule)
