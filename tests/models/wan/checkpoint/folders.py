"""The originals' layouts of what a tiny folder of diffusers holds."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import load_file, save_file

from jax_stepcache.models.wan.checkpoint.names import to_original
from jax_stepcache.models.wan.tiny import KINDS

SINGLE = "diffusion_pytorch_model.safetensors"
TYPES = {"t2v": "t2v", "i2v": "i2v", "flf2v": "flf2v", "ti2v": "ti2v"}


def tensors_of(folder: Path):
    """A transformer's, by the original's names."""
    return {to_original(n): x for n, x in load_file(folder / SINGLE).items()}


def options_of(kind: str):
    """The original's ``config.json``."""
    config = KINDS[kind].transformer
    return {
        "_class_name": "WanModel",
        "dim": config.dim,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.in_channels,
        "model_type": kind.split("-", maxsplit=1)[0],
        "num_heads": config.num_attention_heads,
        "num_layers": config.num_layers,
        "out_dim": config.out_channels,
        "text_dim": config.text_dim,
        "text_len": 512,
    }


def write_original(folder: Path, source: Path, kind: str, **changes) -> Path:
    """One transformer as the original has it."""
    folder.mkdir(parents=True)
    save_file(tensors_of(source), folder / SINGLE)
    (folder / "config.json").write_text(json.dumps(options_of(kind) | changes))
    return folder
