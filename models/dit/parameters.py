"""The transformer's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
from flax import nnx

from jax_stepcache.checkpoints.weights import differences, flat, require_fit

from .config import DiTConfig
from .network import DiT

Weights = dict
"""Nested dict of arrays: module names, then parameter names; blocks are stacked."""


def init_weights(config: DiTConfig, key: jax.Array) -> Weights:
    """Draws weights to train from scratch.

    Xavier-uniform matrices; modulations and output are zero, so that a fresh model
    predicts zero and every block is the identity.

    Args:
        config: the model's.
        key: random key.

    Returns:
        Nested dict of float32 arrays; those of the blocks have a leading layer axis.
    """
    return nnx.to_pure_dict(nnx.state(DiT(config, rngs=nnx.Rngs(key))))


def weight_shapes(config: DiTConfig) -> Weights:
    """Shapes of the weights, as ``jax.ShapeDtypeStruct``; nothing is allocated."""
    return nnx.to_pure_dict(_structure(config)[1])


def bind(config: DiTConfig, weights: Weights) -> DiT:
    """Makes a network of weights; cheap enough to call inside a jitted function.

    Args:
        config: the model's.
        weights: as from `init_weights`; any floating dtype.

    Returns:
        The network.

    Raises:
        ValueError: if names or shapes are not those of the configuration.
    """
    graph, expected = _structure(config)
    wanted, given = (
        {name: jnp.shape(leaf) for name, leaf in flat(tree).items()}
        for tree in (nnx.to_pure_dict(expected), weights)
    )
    require_fit("the given weights", differences(given, wanted))
    return nnx.merge(graph, weights)


@lru_cache(maxsize=32)
def _structure(config: DiTConfig) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: DiT(config, rngs=nnx.Rngs(0))))
