"""Wan as small as it can be, with weights that say something."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache import Params
from jax_stepcache.models.wan import (
    WanConfig,
    WanModel,
    WanRelease,
    init_weights,
)

SMALL = WanConfig(
    num_attention_heads=2,
    attention_head_dim=8,
    in_channels=2,
    out_channels=2,
    text_dim=6,
    freq_dim=8,
    ffn_dim=20,
    num_layers=2,
)
ONE = WanRelease(SMALL, "t2v", shift=3.0, guidance_scale=4.0, num_inference_steps=6)
TWO = WanRelease(
    SMALL,
    "t2v",
    shift=3.0,
    guidance_scale=4.0,
    num_inference_steps=6,
    guidance_scale_2=2.0,
    boundary_ratio=0.7,
)
LATENT = (2, 2, 4)


@functools.partial(jax.jit, static_argnums=0)
def random_weights(config: WanConfig, key: jax.Array) -> dict[str, Any]:
    """Fresh ones with noise, for those predict nothing."""
    fresh = init_weights(config, key)
    leaves, tree = jax.tree.flatten(fresh)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        x + 0.2 * jax.random.normal(k, x.shape)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, noisy)


@functools.cache
def params(release: WanRelease = ONE) -> Params:
    """The params of a release."""
    model = WanModel(release, LATENT)
    names = model.experts.names
    if not names:
        return Params(random_weights(release.transformer, jax.random.key(0)), model)
    keys = jax.random.split(jax.random.key(0), len(names))
    weights = {
        name: random_weights(release.transformer, key)
        for name, key in zip(names, keys, strict=True)
    }
    return Params(weights, model)


def text(rows: int, seed: int = 0, tokens: int = 5) -> dict[str, jax.Array]:
    """Prompts, and negative ones."""
    both = jax.random.normal(jax.random.key(seed), (2, rows, tokens, SMALL.text_dim))
    return {"text": both[0], "negative_text": both[1]}


def noise(rows: int, seed: int = 1) -> jax.Array:
    """First samples."""
    shape = (rows, SMALL.out_channels, *LATENT)
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def pair(release: WanRelease = ONE) -> tuple[Any, WanModel]:
    """Weights and model of a release."""
    both = params(release)
    return both.weights, both.model
