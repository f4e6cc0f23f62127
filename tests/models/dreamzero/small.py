"""A transformer small enough to compile in a second, and inputs that fit it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.models.dreamzero import (
    DreamZeroCondition,
    DreamZeroConfig,
    KeysValues,
    KVCache,
    bind,
    denoise,
    weight_shapes,
)
from jax_stepcache.models.sizes.parameters import Weights

SMALL = DreamZeroConfig(
    model_type="ti2v",
    dim=24,
    ffn_dim=32,
    num_heads=2,
    num_layers=2,
    in_dim=3,
    out_dim=3,
    frame_seqlen=4,
    text_len=3,
    text_dim=5,
    freq_dim=16,
    max_chunk_size=2,
    num_action_per_block=4,
    action_dim=2,
    max_state_dim=3,
    hidden_size=8,
    concat_first_frame_latent=False,
    image_dim=None,
)


I2V = replace(
    SMALL,
    model_type="i2v",
    in_dim=7,
    concat_first_frame_latent=True,
    image_dim=6,
    image_len=5,
)


traces: Counter[DreamZeroConfig] = Counter()
"""How often `velocities` has been traced, by configuration."""


def random_weights(config: DreamZeroConfig) -> Weights:
    """Weights without the zeros of a fresh model, so that all of it matters."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32),
        weight_shapes(config),
    )


def input_shapes(config: DreamZeroConfig, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs of one block of frames, 4 x 4 latents."""
    size = (config.num_frame_per_block, 4, 4)
    shapes = {
        "video": (batch, config.out_dim, *size),
        "action": (batch, config.num_action_per_block, config.action_dim),
        "state": (batch, config.num_state_per_block, config.max_state_dim),
        "text": (batch, config.text_len, config.text_dim),
    }
    if config.image_dim is not None:
        shapes["image"] = (batch, config.image_len, config.image_dim)
    if config.concat_first_frame_latent:
        shapes["y"] = (batch, config.y_dim, *size)
    return shapes


def inputs(config: DreamZeroConfig, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs of one block of frames."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, np.float32)
        for name, shape in input_shapes(config, batch).items()
    }


def random_cache(config: DreamZeroConfig, length: list[int]) -> KVCache:
    """A cache full of numbers, those in slots that are not written included."""
    rng = np.random.default_rng(0)
    empty = KVCache.empty(config, len(length))
    shape = empty.k.shape
    k, v = (jnp.asarray(rng.standard_normal(shape, np.float32)) for _ in range(2))
    return KVCache(k, v, jnp.asarray(length, jnp.int32), empty.broken)


@partial(jax.jit, static_argnums=0)
def velocities(
    config: DreamZeroConfig,
    weights: Weights,
    given: dict[str, jax.Array],
    cache: KVCache,
    t_video: float = 700.0,
    t_action: float = 300.0,
) -> dict[str, jax.Array]:
    """What `denoise` predicts for these inputs."""
    traces[config] += 1
    batch = given["video"].shape[0]
    context = bind(config, weights).encode_context(given["text"], given.get("image"))
    sample = {"video": given["video"], "action": given["action"]}
    t = {"video": jnp.full(batch, t_video), "action": jnp.full(batch, t_action)}
    condition = DreamZeroCondition(context, cache, given["state"], given.get("y"))
    return denoise(config, weights, sample, t, condition)


@partial(jax.jit, static_argnums=0)
def prefill(
    config: DreamZeroConfig,
    weights: Weights,
    given: dict[str, jax.Array],
    cache: KVCache,
) -> tuple[KVCache, KeysValues]:
    """The cache after these frames, and the keys and values that they have."""
    model = bind(config, weights)
    context = model.encode_context(given["text"], given.get("image"))
    video, y = given["video"], given.get("y")
    t = jnp.zeros(video.shape[0])
    new = model.forward(video, t, context, cache, y=y).keys_values
    return model.prefill(video, context, cache, y=y), new
