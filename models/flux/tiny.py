"""A tiny FLUX with random weights, whole: all parts, in the layout of diffusers'.

``python -m jax_stepcache.models.flux.tiny FOLDER`` writes one; it needs ``tokenizers``.
What it does is noise; how it does it is what the released models do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from .. import clip_text, flux_vae, umt5
from ..tiny.command import run_command
from ..tiny.encoders import TEXT
from ..tiny.tensors import new_folder, write_json, write_tensors
from ..tiny.tokenizer import write_clip_tokenizer, write_tokenizer
from ..umt5.checkpoint.name_map import TRANSFORMERS_EMBEDDINGS
from .checkpoint.name_map import state_dict_shapes
from .sizes import FluxConfig

KINDS = ("dev", "schnell")
"""Told a guidance scale, and told none."""

T5 = replace(TEXT, one_table=True)
CLIP = clip_text.CLIPTextConfig(
    vocab=400, dim=32, mlp_width=48, num_heads=2, num_layers=2
)
VAE = flux_vae.FluxVAEConfig(
    block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4
)
_TRANSFORMER = FluxConfig(
    num_layers=2,
    num_single_layers=3,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=T5.dim,
    pooled_projection_dim=CLIP.dim,
    axes_dims_rope=(4, 6, 6),
)
_SAID = (
    "a cat walks on the grass, realistic",
    "a white ball rolls over the blue table and falls",
    "abcdefghijklmnopqrstuvwxyz 0123456789",
)
# Whose classes they are, so that diffusers opens the folder, too.
_CLASSES = {
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_END = "<|endoftext|>"
_TOKENIZERS: dict[str, dict[str, Any]] = {
    "tokenizer": {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        **dict.fromkeys(("eos_token", "pad_token", "unk_token"), _END),
    },
    "tokenizer_2": {
        "tokenizer_class": "T5Tokenizer",
        "model_max_length": 512,
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "extra_ids": 0,
    },
}
_OURS = ("dtype", "unroll", "attention", "mlp_ratio", "freq_dim")


def write_tiny(
    folder: str | os.PathLike[str], kind: str = "dev", seed: int = 0
) -> Path:
    """Writes the folder, under another name first.

    Args:
        folder: to be made.
        kind: ``"dev"`` or ``"schnell"``.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        FileExistsError: if there is something of that name.
        ValueError: for an unknown kind.
        ImportError: without tokenizers.
    """
    if kind not in KINDS:
        raise ValueError(unknown_name("kind of FLUX", kind, KINDS))
    target = as_path(folder)
    config = replace(_TRANSFORMER, guidance_embeds=kind == "dev")
    with new_folder(target) as partial:
        _write_all(partial, config, np.random.default_rng(seed))
    return target


def _write_all(folder: Path, config: FluxConfig, rng: np.random.Generator) -> None:
    (folder / "tokenizer").mkdir()
    end = write_clip_tokenizer(folder / "tokenizer", _SAID)
    (folder / "tokenizer_2").mkdir()
    write_tokenizer(folder / "tokenizer_2" / "tokenizer.json", _SAID, T5.vocab)
    for name, told in _TOKENIZERS.items():
        write_json(folder / name / "tokenizer_config.json", told)
    ours = {name: x for name, x in asdict(config).items() if name not in _OURS}
    options = {"_class_name": "FluxTransformer2DModel", **ours}
    shapes = state_dict_shapes(config)
    _part(folder / "transformer", options, shapes, rng, "diffusion_")
    shapes = flux_vae.state_dict_shapes(VAE)
    _part(folder / "vae", _vae(), shapes, rng, "diffusion_")
    _part(folder / "text_encoder", _clip(end), clip_text.state_dict_shapes(CLIP), rng)
    shapes = umt5.state_dict_shapes(T5, TRANSFORMERS_EMBEDDINGS[0])
    _part(folder / "text_encoder_2", _t5(), shapes, rng)
    (folder / "scheduler").mkdir()
    write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "use_dynamic_shifting": config.guidance_embeds,
            "shift": 3.0 if config.guidance_embeds else 1.0,
            "num_train_timesteps": 1000,
        },
    )
    write_json(folder / "model_index.json", {"_class_name": "FluxPipeline", **_CLASSES})


def _part(
    folder: Path,
    options: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
    before: str = "",
) -> None:
    folder.mkdir()
    write_json(folder / "config.json", options)
    name = f"{before}pytorch_model.safetensors" if before else "model.safetensors"
    write_tensors(folder / name, shapes, rng)


def _vae() -> dict[str, Any]:
    """As in diffusers' ``vae/config.json``."""
    sizes = asdict(VAE)
    del sizes["dtype"]
    levels = len(VAE.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        **sizes,
        "out_channels": VAE.in_channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "mid_block_add_attention": True,
        "act_fn": "silu",
    }


def _clip(end: int) -> dict[str, Any]:
    """As in transformers' configuration of CLIP's text encoder."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": CLIP.vocab,
        "hidden_size": CLIP.dim,
        "intermediate_size": CLIP.mlp_width,
        "num_hidden_layers": CLIP.num_layers,
        "num_attention_heads": CLIP.num_heads,
        "max_position_embeddings": CLIP.length,
        "hidden_act": CLIP.activation,
        "layer_norm_eps": CLIP.eps,
        "bos_token_id": 0,
        "eos_token_id": end,
        "pad_token_id": end,
    }


def _t5() -> dict[str, Any]:
    """As in transformers' configuration of a T5 encoder."""
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "feed_forward_proj": "gated-gelu",
        "d_model": T5.dim,
        "d_kv": T5.dim_attn // T5.num_heads,
        "d_ff": T5.dim_ffn,
        "vocab_size": T5.vocab,
        "num_heads": T5.num_heads,
        "num_layers": T5.num_layers,
        "relative_attention_num_buckets": T5.num_buckets,
        "relative_attention_max_distance": T5.max_dist,
        "layer_norm_epsilon": T5.eps,
    }


def main() -> None:
    """The command."""
    run_command("FLUX", write_tiny, KINDS, "dev")


if __name__ == "__main__":
    main()
