"""The transformer's weights: fresh ones, their shapes, and a model made of them."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
from flax import nnx

from .config import DreamZeroConfig
from .dit import CausalWanModel

Weights = dict
"""Nested dict of arrays: module names, then parameter names; blocks are stacked."""


def init_weights(config: DreamZeroConfig, key: jax.Array) -> Weights:
    """Draws weights to train from scratch.

    Xavier-uniform matrices; the projections to modulation and to both outputs are
    zero, so that a fresh model predicts zero and every block is near the identity.

    Args:
        config: the model's.
        key: random key.

    Returns:
        Nested dict of float32 arrays; those of the blocks have a leading layer
        axis.
    """
    state = nnx.state(CausalWanModel(config, rngs=nnx.Rngs(key)))
    return nnx.to_pure_dict(state)


def weight_shapes(config: DreamZeroConfig) -> Weights:
    """Shapes of the weights, as ``jax.ShapeDtypeStruct``; nothing is allocated."""
    return nnx.to_pure_dict(_structure(config)[1])


def bind(config: DreamZeroConfig, weights: Weights) -> CausalWanModel:
    """Makes a model of weights; cheap enough to call inside a jitted function.

    Args:
        config: the model's.
        weights: as from `init_weights`; any floating dtype.

    Returns:
        The model.

    Raises:
        ValueError: if names or shapes are not those of the configuration.
    """
    graph, expected = _structure(config)
    expected = _flat(nnx.to_pure_dict(expected))
    given = _flat(weights)
    faults = [f"missing {name}" for name in expected if name not in given]
    faults += [f"unknown {name}" for name in given if name not in expected]
    faults += [
        f"{name} has shape {jnp.shape(given[name])}, not {struct.shape}"
        for name, struct in expected.items()
        if name in given and jnp.shape(given[name]) != struct.shape
    ]
    if faults:
        raise ValueError("weights do not fit the configuration: " + "; ".join(faults))
    return nnx.merge(graph, weights)


@lru_cache(maxsize=32)
def _structure(config: DreamZeroConfig) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: CausalWanModel(config, rngs=nnx.Rngs(0))))


def _flat(weights: Weights) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(weights)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
