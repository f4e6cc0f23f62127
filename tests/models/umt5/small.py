"""A text encoder small enough to compile in a second, and its tensors."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from jax_stepcache.models.sizes.parameters import Weights
from jax_stepcache.models.umt5 import UMT5Config, init_weights, state_dict_shapes

SMALL = UMT5Config(
    vocab=40,
    dim=16,
    dim_attn=24,
    dim_ffn=20,
    num_heads=4,
    num_layers=3,
    num_buckets=16,
    max_dist=32,
)
# What files under the original's names do not say is the released encoder's.
UNTOLD = {"max_dist": 128}


@lru_cache(maxsize=2)
def weights_of(config: UMT5Config) -> Weights:
    return init_weights(config, jax.random.key(0))


def tensors_of(config: UMT5Config, embedding=None, dtype=np.float32):
    rng = np.random.default_rng(0)
    shapes = state_dict_shapes(config, embedding)
    return {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items()}


def options_of(config: UMT5Config):
    """As in the ``config.json`` of transformers' folders."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "feed_forward_proj": "gated-gelu",
        "d_model": config.dim,
        "d_kv": config.dim_attn // config.num_heads,
        "d_ff": config.dim_ffn,
        "vocab_size": config.vocab,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "relative_attention_num_buckets": config.num_buckets,
        "relative_attention_max_distance": config.max_dist,
        "layer_norm_epsilon": config.eps,
        "tie_word_embeddings": False,
    }


def write(path: Path, tensors, options=None, prefix="") -> Path:
    """Writes a safetensors file, and options beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: x for name, x in tensors.items()}, path)
    if options is not None:
        path.with_name("config.json").write_text(json.dumps(options))
    return path
