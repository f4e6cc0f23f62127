"""A tiny DreamZero with random weights, whole: all parts, in the release's layout.

``python -m jax_stepcache.models.dreamzero.pixels.tiny FOLDER`` writes one; it needs
``tokenizers``. What it does is noise; how it does it is what the released model does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.paths import as_path

from ... import clip_vision, umt5, wan_vae
from ...tiny import encoders
from ...tiny.command import run_command
from ...tiny.encoders import IMAGE, TEXT
from ...tiny.tensors import new_folder, write_json, write_tensors
from ...tiny.tokenizer import write_tokenizer
from ..checkpoint.name_map import state_dict_shapes
from ..network.config import DreamZeroConfig
from ..robot.embodiments import EMBODIMENTS
from ..robot.statistics import METADATA
from .prompt import NEGATIVE_PROMPT, prompt_text
from .views import VIEWS

VAES: Mapping[str, wan_vae.WanVAEConfig] = {
    "i2v": encoders.VAES["2.1"],
    "ti2v": encoders.VAES["2.2"],
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
    with new_folder(target) as partial:
        _write_all(partial, kind, np.random.default_rng(seed))
    return target


def _write_all(folder: Path, kind: str, rng: np.random.Generator) -> None:
    (folder / METADATA).parent.mkdir(parents=True)
    shapes = {
        "model": state_dict_shapes(TRANSFORMERS[kind]),
        "text_encoder": umt5.state_dict_shapes(TEXT),
        "image_encoder": clip_vision.state_dict_shapes(IMAGE),
        "vae.model": wan_vae.state_dict_shapes(VAES[kind]),
    }
    where = {}
    for i, (part, wanted) in enumerate(shapes.items()):
        file = f"model-{i + 1:05}-of-{len(shapes):05}.safetensors"
        prefix = f"action_head.{part}."
        names = write_tensors(folder / file, wanted, rng, prefix)
        where |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": where}
    write_json(folder / "model.safetensors.index.json", index)
    write_json(folder / "config.json", _config(TRANSFORMERS[kind]))
    write_json(folder / METADATA, _metadata())
    said = [prompt_text(views, word) for views in VIEWS.values() for word in _SAID]
    said += [NEGATIVE_PROMPT, *_SAID]
    write_tokenizer(folder / "tokenizer.json", said, TEXT.vocab)


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


def main() -> None:
    """The command."""
    run_command("DreamZero", write_tiny, TRANSFORMERS, "i2v")


if __name__ == "__main__":
    main()
