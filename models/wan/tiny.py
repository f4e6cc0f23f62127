"""A tiny Wan with random weights, whole: all parts, in the layout of diffusers'.

``python -m jax_stepcache.models.wan.tiny FOLDER`` writes one; it needs ``tokenizers``.
What it does is noise; how it does it is what the released models do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from .. import umt5, wan_vae
from ..checkpoints.name_map import source_shapes
from ..clip_vision.checkpoint.name_map import TRANSFORMERS, plan
from ..tiny.command import run_command
from ..tiny.encoders import IMAGE, TEXT, VAES
from ..tiny.tensors import new_folder, write_json, write_tensors
from ..tiny.tokenizer import write_tokenizer
from ..umt5.checkpoint.name_map import TRANSFORMERS_EMBEDDINGS
from .checkpoint.name_map import state_dict_shapes
from .prompt import NEGATIVE_PROMPT
from .sizes import WanConfig


class Kind(NamedTuple):
    """What a tiny folder is like.

    Attributes:
        transformer: its sizes, or those of each expert.
        vae: a key of `VAES`.
        shift: of the scheduler.
        boundary_ratio: of two experts; None for one transformer.
        pictures: whether the pipeline takes any.
    """

    transformer: WanConfig
    vae: str = "2.1"
    shift: float = 5.0
    boundary_ratio: float | None = None
    pictures: bool = False


_SIZES: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "text_dim": TEXT.dim,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
}
_T2V = WanConfig(**_SIZES)
_BESIDE = WanConfig(**_SIZES, in_channels=36)
_IMAGE: dict[str, Any] = {
    "in_channels": 36,
    "image_dim": IMAGE.dim,
    "added_kv_proj_dim": 48,
}
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "t2v": Kind(_T2V),
        "i2v": Kind(WanConfig(**_SIZES, **_IMAGE), shift=3.0, pictures=True),
        "flf2v": Kind(
            WanConfig(**_SIZES, **_IMAGE, pos_embed_seq_len=2 * IMAGE.tokens),
            shift=16.0,
            pictures=True,
        ),
        "ti2v": Kind(WanConfig(**_SIZES, in_channels=48, out_channels=48), vae="2.2"),
        "t2v-a14b": Kind(_T2V, shift=12.0, boundary_ratio=0.875),
        "i2v-a14b": Kind(_BESIDE, boundary_ratio=0.9, pictures=True),
    }
)
_SAID = (
    "a cat walks on the grass, realistic",
    "two boxers in bright gear fight on a stage under spotlights",
    "a white ball rolls over the blue table and falls",
    "abcdefghijklmnopqrstuvwxyz 0123456789",
    NEGATIVE_PROMPT,
)
_OURS = ("dtype", "unroll", "attention")


def write_tiny(
    folder: str | os.PathLike[str], kind: str = "t2v", seed: int = 0
) -> Path:
    """Writes the folder, under another name first.

    Args:
        folder: to be made.
        kind: ``"t2v"``, ``"i2v"``, ``"flf2v"``, ``"ti2v"``, ``"t2v-a14b"`` or
            ``"i2v-a14b"``.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        FileExistsError: if there is something of that name.
        ValueError: for an unknown kind.
        ImportError: without tokenizers.
    """
    if kind not in KINDS:
        raise ValueError(unknown_name("kind of Wan", kind, KINDS))
    target = as_path(folder)
    with new_folder(target) as partial:
        _write_all(partial, KINDS[kind], np.random.default_rng(seed))
    return target


def _write_all(folder: Path, kind: Kind, rng: np.random.Generator) -> None:
    two = kind.boundary_ratio is not None
    transformer = {"_class_name": "WanTransformer3DModel", **_options(kind.transformer)}
    shapes = state_dict_shapes(kind.transformer)
    experts = ["transformer", "transformer_2"][: 1 + two]
    for name in experts:
        _write_part(folder / name, transformer, shapes, rng, "diffusion_pytorch_")
    vae = VAES[kind.vae]
    shapes = wan_vae.state_dict_shapes(vae, "diffusers")
    _write_part(folder / "vae", _vae(vae), shapes, rng, "diffusion_pytorch_")
    shapes = umt5.state_dict_shapes(TEXT, TRANSFORMERS_EMBEDDINGS[0])
    _write_part(folder / "text_encoder", _text(), shapes, rng)
    if kind.transformer.image_dim is not None:
        shapes = source_shapes(plan(IMAGE, TRANSFORMERS, transformers=True))
        _write_part(folder / "image_encoder", _image(), shapes, rng)
    (folder / "tokenizer").mkdir()
    write_tokenizer(folder / "tokenizer" / "tokenizer.json", _SAID, TEXT.vocab)
    (folder / "scheduler").mkdir()
    file = folder / "scheduler" / "scheduler_config.json"
    write_json(file, _scheduler(kind.shift))
    parts = {path.name: ["diffusers", path.name] for path in folder.iterdir()}
    name = "WanImageToVideoPipeline" if kind.pictures else "WanPipeline"
    index = {
        "_class_name": name,
        "boundary_ratio": kind.boundary_ratio,
        "expand_timesteps": kind.vae == "2.2",
        "transformer_2": [None, None],
        **parts,
    }
    write_json(folder / "model_index.json", index)


def _write_part(
    folder: Path,
    options: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
    before: str = "",
) -> None:
    folder.mkdir()
    write_json(folder / "config.json", options)
    write_tensors(folder / f"{before}model.safetensors", shapes, rng)


def _options(config: WanConfig) -> dict[str, Any]:
    """As in diffusers' ``transformer/config.json``."""
    ours = {k: v for k, v in asdict(config).items() if k not in _OURS}
    return {**ours, "qk_norm": "rms_norm_across_heads", "cross_attn_norm": True}


def _vae(config: wan_vae.WanVAEConfig) -> dict[str, Any]:
    """As in diffusers' ``vae/config.json``."""
    zeros, ones = [0.0] * config.z_dim, [1.0] * config.z_dim
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": config.dim,
        "decoder_base_dim": config.dec_dim,
        "z_dim": config.z_dim,
        "dim_mult": config.dim_mult,
        "num_res_blocks": config.num_res_blocks,
        "attn_scales": [],
        "temperal_downsample": config.temperal_downsample,
        "latents_mean": config.latents_mean or zeros,
        "latents_std": config.latents_std or ones,
        "is_residual": config.residual,
        "in_channels": config.frame_channels,
        "out_channels": config.frame_channels,
        "patch_size": config.fold if config.residual else None,
        "scale_factor_temporal": config.temporal_stride,
        "scale_factor_spatial": config.spatial_stride,
    }


def _text() -> dict[str, Any]:
    """As in transformers' configuration of a UMT5 encoder."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "feed_forward_proj": "gated-gelu",
        "d_model": TEXT.dim,
        "d_kv": TEXT.dim_attn // TEXT.num_heads,
        "d_ff": TEXT.dim_ffn,
        "vocab_size": TEXT.vocab,
        "num_heads": TEXT.num_heads,
        "num_layers": TEXT.num_layers,
        "relative_attention_num_buckets": TEXT.num_buckets,
        "relative_attention_max_distance": TEXT.max_dist,
        "layer_norm_epsilon": TEXT.eps,
    }


def _image() -> dict[str, Any]:
    """As in transformers' configuration of a CLIP image encoder."""
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": IMAGE.dim,
        "image_size": IMAGE.image_size,
        "intermediate_size": IMAGE.mlp_width,
        "layer_norm_eps": IMAGE.eps,
        "num_attention_heads": IMAGE.num_heads,
        "num_hidden_layers": IMAGE.num_layers,
        "patch_size": IMAGE.patch_size,
        "projection_dim": IMAGE.out_dim,
    }


def _scheduler(shift: float) -> dict[str, Any]:
    """As in diffusers' ``scheduler/scheduler_config.json``, as released."""
    return {
        "_class_name": "UniPCMultistepScheduler",
        "flow_shift": shift,
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "use_flow_sigmas": True,
    }


def main() -> None:
    """The command."""
    run_command("Wan", write_tiny, KINDS, "t2v")


if __name__ == "__main__":
    main()
