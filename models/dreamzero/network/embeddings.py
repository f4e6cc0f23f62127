"""What enters the transformer beside video and text: actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...layers.features import beside
from ...layers.linear import Linear


def action_timestep_encoding(t: jax.Array, features: int) -> jax.Array:
    """Sinusoids of the action timestep: [sin, cos](t * 1e4^(-k / half)).

    Frequencies and angles are float32, as where the weights come from.

    Args:
        t: (...) timesteps in [0, 1000].
        features: width of the encoding, even.

    Returns:
        (..., features) float32.
    """
    half = features // 2
    step = np.log(np.float32(1e4)) / np.float32(half)
    frequency = np.exp(-np.arange(half, dtype=np.float32) * step)
    t = t.astype(jnp.float32)[..., None]
    angle = t * beside(frequency, t)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class ActionEncoder(nnx.Module):
    """Noisy actions and their timestep as tokens.

    Attributes:
        W1: action to features.
        W2: features and timestep encoding to features.
        W3: features to features.
    """

    def __init__(self, action_dim: int, features: int, *, rngs: nnx.Rngs):
        self.W1 = Linear(action_dim, features, rngs=rngs)
        self.W2 = Linear(2 * features, features, rngs=rngs)
        self.W3 = Linear(features, features, rngs=rngs)

    def __call__(self, action: jax.Array, t: jax.Array) -> jax.Array:
        """Maps actions (B, A, action_dim) at t (B, 1 or A) to (B, A, features)."""
        a = self.W1(action)
        tau = action_timestep_encoding(t, a.shape[-1]).astype(a.dtype)
        tau = jnp.broadcast_to(tau, a.shape)
        return self.W3(jax.nn.silu(self.W2(jnp.concatenate([a, tau], axis=-1))))
