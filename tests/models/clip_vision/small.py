"""An image encoder small enough to compile in a second, and its tensors."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np

from jax_stepcache.models.clip_vision import (
    CLIPVisionConfig,
    init_weights,
    state_dict_shapes,
)
from jax_stepcache.models.sizes.parameters import Weights

SMALL = CLIPVisionConfig(
    image_size=12,
    patch_size=4,
    dim=16,
    mlp_ratio=2,
    num_heads=4,
    num_layers=3,
    out_dim=6,
)


@lru_cache(maxsize=2)
def weights_of(config: CLIPVisionConfig) -> Weights:
    return init_weights(config, jax.random.key(0))


def tensors_of(config: CLIPVisionConfig, dtype=np.float32):
    """Under the original's names."""
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in state_dict_shapes(config).items()
    }


def of_transformers(config: CLIPVisionConfig, tensors):
    """The same under transformers' names, as far as it has them."""
    visual, made = "model.visual.", {}
    block = {
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.proj": "self_attn.out_proj",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
    }
    made["embeddings.class_embedding"] = tensors[f"{visual}cls_embedding"].ravel()
    made["embeddings.position_embedding.weight"] = tensors[f"{visual}pos_embedding"][0]
    patch = "patch_embedding.weight"
    made[f"embeddings.{patch}"] = tensors[visual + patch]
    for end in ("weight", "bias"):
        made[f"pre_layrnorm.{end}"] = tensors[f"{visual}pre_norm.{end}"]
        made[f"post_layernorm.{end}"] = tensors[f"{visual}post_norm.{end}"]
        for i in range(config.num_layers):
            ours, theirs = f"{visual}transformer.{i}", f"encoder.layers.{i}"
            for a, b in block.items():
                made[f"{theirs}.{b}.{end}"] = tensors[f"{ours}.{a}.{end}"]
            three = np.split(tensors[f"{ours}.attn.to_qkv.{end}"], 3)
            for which, one in zip("qkv", three, strict=True):
                made[f"{theirs}.self_attn.{which}_proj.{end}"] = one
    return {f"vision_model.{name}": x for name, x in made.items()}


def options_of(config: CLIPVisionConfig):
    """As in the ``config.json`` of transformers' folders."""
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": config.dim,
        "image_size": config.image_size,
        "intermediate_size": config.mlp_width,
        "layer_norm_eps": config.eps,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "patch_size": config.patch_size,
        "projection_dim": config.out_dim,
    }
