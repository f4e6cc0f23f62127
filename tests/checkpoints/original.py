"""Checkpoints in the original's exact layout, small."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jax_stepcache.models.dreamzero import DreamZeroConfig, state_dict_shapes

from ..models.dreamzero.small import SMALL

PREFIX = "action_head.model."
OTHERS = {
    "action_head.text_encoder.token_embedding.weight": (7, 5),
    "action_head.image_encoder.model.visual.cls_embedding": (1, 1, 6),
    "action_head.vae.model.conv1.weight": (4, 3, 3, 1, 1),
}
_HERE = ("dtype", "unroll", "attention", "image_len")
_ABOVE = ("action_dim", "max_state_dim")


def state_dict(config: DreamZeroConfig = SMALL, dtype=ml_dtypes.bfloat16):
    """The transformer's tensors, random, by their names without prefix."""
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape, np.float32).astype(dtype)
        for name, shape in state_dict_shapes(config).items()
    }


def config_json(config: DreamZeroConfig = SMALL):
    """What the released ``config.json`` says, with keys of no matter to us."""
    options = {k: v for k, v in asdict(config).items() if k not in _HERE}
    transformer = {k: v for k, v in options.items() if k not in _ABOVE}
    above = {name: options[name] for name in _ABOVE}
    return {
        "model_type": "vla",
        "action_head_cfg": {
            "_target_": "groot.vla.WANPolicyHead",
            "config": {
                **above,
                "num_frames": 33,
                "action_horizon": 24,
                "hidden_size": 4096,
                "decouple_inference_noise": False,
                "diffusion_model_cfg": {"_target_": "wan.Model", **transformer},
            },
        },
    }


def write_original(
    folder: Path,
    config: DreamZeroConfig = SMALL,
    *,
    dtype=ml_dtypes.bfloat16,
    shards: int = 3,
    changes=None,
    written: DreamZeroConfig | None = None,
) -> Path:
    """Writes a folder of shards, index and ``config.json``.

    Args:
        folder: to be made.
        config: of the weights.
        dtype: of the tensors.
        shards: files.
        changes: tensors to add or replace, or to leave out (None), by full name.
        written: the configuration that ``config.json`` tells; that of the weights
            unless given.

    Returns:
        The folder.
    """
    tensors = {PREFIX + n: a for n, a in state_dict(config, dtype).items()}
    tensors |= {name: np.ones(shape, dtype) for name, shape in OTHERS.items()}
    tensors |= changes or {}
    tensors = {name: array for name, array in tensors.items() if array is not None}
    folder.mkdir(parents=True)
    index = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        # Round robin, so that the layers of a weight lie in different files.
        part = dict(list(tensors.items())[i::shards])
        save_file(part, folder / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    size = sum(array.nbytes for array in tensors.values())
    told = {"metadata": {"total_size": size}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    (folder / "config.json").write_text(json.dumps(config_json(written or config)))
    return folder
