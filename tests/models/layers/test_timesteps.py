"""Sinusoids of a timestep."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jax_stepcache.models.layers.timesteps import timestep_embedding


def test_timestep_embedding_is_exact_to_single_precision():
    """The original takes these sinusoids in double precision."""
    t = np.arange(1000.0)
    angle = np.outer(t, 1e4 ** (-np.arange(128) / 128))
    exact = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    ours = timestep_embedding(jnp.asarray(t, jnp.float32), 256)
    np.testing.assert_allclose(ours, exact, atol=5e-7)
