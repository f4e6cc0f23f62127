"""A tiny DreamZero with random weights, whole: all parts, in the release's layout.

``python -m jax_stepcache.models.dreamzero.pixels.tiny FOLDER`` writes one; it needs
``tokenizers``. What it does is noise; how it does it is what the released model does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jax_stepcache.paths import as_path, path_option

from ... import clip_vision, umt5, wan_vae
from ..checkpoint.name_map import state_dict_shapes
from ..network.config import DreamZeroConfig
from ..robot.embodiments import EMBODIMENTS
from ..robot.statistics import METADATA
from .prompt import NEGATIVE_PROMPT, prompt_text
from .views import VIEWS

TEXT = umt5.UMT5Config(
    vocab=800, dim=24, dim_attn=32, dim_ffn=40, num_heads=4, num_layers=2
)
IMAGE = clip_vision.CLIPVisionConfig(
    image_size=32, patch_size=2, dim=32, num_heads=2, num_layers=3, out_dim=12
)
VAES: Mapping[str, wan_vae.WanVAEConfig] = {
    "i2v": wan_vae.WanVAEConfig(dim=4, num_res_blocks=1),
    "ti2v": wan_vae.WanVAEConfig(dim=4, z_dim=48, num_res_blocks=1, dec_dim=6),
}
_LATENTS = (4, 8)
_SIZES: dict[str, Any] = {
    "dim": 48,
    "ffn_dim": 64,
    "num_heads": 2,
    "num_layers": 2,
    "frame_seqlen": 8,
    "freq_dim": 32,
    "text_len": 256,
    "text_dim": TEXT.dim,
    "hidden_size": 16,
    "image_dim": IMAGE.dim,
}
TRANSFORMERS: Mapping[str, DreamZeroConfig] = {
    "i2v": DreamZeroConfig(**_SIZES),
    "ti2v": DreamZeroConfig(
        **_SIZES,
        model_type="ti2v",
        in_dim=48,
        out_dim=48,
        concat_first_frame_latent=False,
    ),
}
_SAID = (
    "pick up the red cube and put it into the blue bowl",
    "open the drawer, then close the door of the box",
    "fold the towel and move the pan forward",
    "abcdefghijklmnopqrstuvwxyz 0123456789",
)
# Of our configuration, what the release does not tell, or tells elsewhere.
_OURS = ("dtype", "unroll", "attention", "image_len")
_ABOVE = ("action_dim", "max_state_dim")


def write_tiny(
    folder: str | os.PathLike[str], kind: str = "i2v", seed: int = 0
) -> Path:
    """Writes the folder, under another name first.

    Args:
        folder: to be made.
        kind: ``"i2v"``, as the 14B model, or ``"ti2v"``, as the 5B one.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        FileExistsError: if there is something of that name.
        ImportError: without tokenizers.
    """
    target = as_path(folder)
    if target.exists():
        raise FileExistsError(f"{target} is there already; give another name")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / METADATA).parent.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    shapes = {
        "model": state_dict_shapes(TRANSFORMERS[kind]),
        "text_encoder": umt5.state_dict_shapes(TEXT),
        "image_encoder": clip_vision.state_dict_shapes(IMAGE),
        "vae.model": wan_vae.state_dict_shapes(VAES[kind]),
    }
    where = {}
    for i, (part, wanted) in enumerate(shapes.items()):
        file = f"model-{i + 1:05}-of-{len(shapes):05}.safetensors"
        tensors = {
            f"action_head.{part}.{name}": _random(rng, name, shape)
            for name, shape in wanted.items()
        }
        save_file(tensors, partial / file, {"format": "pt"})
        where |= dict.fromkeys(tensors, file)
    index = {"metadata": {}, "weight_map": where}
    _write(partial / "model.safetensors.index.json", index)
    _write(partial / "config.json", _config(TRANSFORMERS[kind]))
    _write(partial / METADATA, _metadata())
    _write_tokenizer(partial / "tokenizer.json")
    partial.replace(target)
    return target


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that keep activations near 1 from layer to layer."""
    drawn = rng.standard_normal(shape).astype(np.float32)
    inner = shape[1:-1] if name.endswith(".W") else shape[1:]
    fan = int(np.prod(inner)) if len(shape) > 1 else 1
    if name.endswith(("gamma", "norm.weight")) or (
        len(shape) == 1 and name.endswith("weight")
    ):
        return 1 + np.float32(0.1) * drawn
    if len(shape) == 1:
        return np.float32(0.1) * drawn
    return drawn / np.float32(max(fan, 1) ** 0.5)


def _write_tokenizer(file: Path) -> None:
    """One of UMT5's kind, trained on what is said to it; ids 0 and 1 as there."""
    import tokenizers

    said = [prompt_text(views, word) for views in VIEWS.values() for word in _SAID]
    made: Any = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=TEXT.vocab,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    made.train_from_iterator([*said, NEGATIVE_PROMPT, *_SAID], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    made.save(str(file))


def _config(dit: DreamZeroConfig) -> dict[str, Any]:
    """What the released ``config.json`` has, as far as it is read."""
    options = {k: v for k, v in asdict(dit).items() if k not in _OURS}
    transformer = {k: v for k, v in options.items() if k not in _ABOVE}
    return {
        "model_type": "vla",
        "latent_size": list(_LATENTS),
        "action_head_cfg": {
            "config": {
                **{name: options[name] for name in _ABOVE},
                "num_frames": 4 * (dit.window - 1) + 1,
                "diffusion_model_cfg": transformer,
                "image_encoder_cfg": {"num_heads": IMAGE.num_heads},
            }
        },
    }


def _metadata() -> dict[str, Any]:
    """Quantiles of every robot; numbers of joints are DROID's, six or one elsewhere."""

    def width(key: str) -> int:
        if key == "joint_position":
            return 7
        return 6 if "joint" in key else 1

    def quantiles(keys: tuple[str, ...]) -> dict[str, Any]:
        return {
            key: {"q01": [-1.0] * width(key), "q99": [1.0] * width(key)} for key in keys
        }

    return {
        name: {
            "statistics": {
                "state": quantiles(EMBODIMENTS[name].state_keys),
                "action": quantiles(EMBODIMENTS[name].action_keys),
            }
        }
        for name in VIEWS
    }


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Writes a tiny DreamZero, whole.")
    parser.add_argument("folder", type=path_option, help="to be made")
    parser.add_argument("--kind", choices=sorted(TRANSFORMERS), default="i2v")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(write_tiny(args.folder, args.kind, args.seed))


if __name__ == "__main__":
    main()
