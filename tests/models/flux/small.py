"""A FLUX as small as can be, with random weights."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jax_stepcache.models.flux import FluxConfig, FluxModel, FluxRelease, init_weights
from jax_stepcache.network.params import Params

SMALL = FluxConfig(
    in_channels=16,
    num_layers=2,
    num_single_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=10,
    pooled_projection_dim=6,
    guidance_embeds=True,
    axes_dims_rope=(2, 2, 4),
    freq_dim=16,
)


@functools.cache
def params() -> Params:
    """Weights of which none is zero, and their model."""
    drawn = init_weights(SMALL, jax.random.key(0))
    leaves, structure = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved: list[Any] = [
        x + 0.2 * jax.random.normal(key, x.shape)
        for x, key in zip(leaves, keys, strict=True)
    ]
    model = FluxModel(FluxRelease(SMALL, text_len=5), (4, 6))
    return Params(jax.tree.unflatten(structure, moved), model)


def shown(rows: int = 1) -> dict[str, Any]:
    """What the model is shown."""
    return params().model.example(jax.random.key(2), rows)
