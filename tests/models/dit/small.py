"""A transformer small enough to compile in a second, and inputs that fit it."""

from __future__ import annotations

import functools

import jax
import numpy as np

from jax_stepcache.models.dit import DiTConfig, DiTModel, weight_shapes
from jax_stepcache.models.sizes.parameters import Weights

SMALL = DiTConfig(
    input_size=4,
    patch_size=2,
    in_channels=1,
    hidden_size=16,
    depth=3,
    num_heads=2,
    num_classes=5,
    learn_sigma=False,
)


def random_weights(config: DiTConfig) -> Weights:
    """Weights without the zeros of a fresh model, so that all of it matters."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32),
        weight_shapes(config),
    )


def random_sample(config: DiTConfig, batch: int) -> np.ndarray:
    """Noise to start from."""
    shape = (batch, config.input_size, config.input_size, config.in_channels)
    return np.random.default_rng(1).standard_normal(shape, np.float32)


@functools.partial(jax.jit, static_argnums=0)
def velocity(
    model: DiTModel, weights: Weights, x: jax.Array, t: jax.Array, labels: jax.Array
) -> jax.Array:
    """What the model says of a sample."""
    return model.denoise(weights, x, t, labels)
