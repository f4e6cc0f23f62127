"""What pi0 is trained by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .model import Pi0Model


def loss(
    model: Pi0Model,
    weights: Any,
    observation: Mapping[str, Any],
    actions: jax.Array,
    noise: jax.Array,
    time: jax.Array,
) -> jax.Array:
    """Squared errors of the velocity.

    Args:
        model: the model.
        weights: nested dict of arrays.
        observation: see `Pi0Model.check_observation`.
        actions: float32 (B, horizon, action_dim), normalised.
        noise: likewise, normal random numbers.
        time: float32 (B,), the noise level of each; in training 0.999 times a draw of
            Beta(1.5, 1), and 0.001.

    Returns:
        float32 (B, horizon), the mean over the channels.
    """
    condition = model.prepare(weights, observation, False)
    level = time[:, None, None]
    sample = level * noise + (1 - level) * actions
    velocity = model.denoise(weights, sample, 1000.0 * time, condition)
    return jnp.mean(jnp.square(velocity - (noise - actions)), axis=-1)
