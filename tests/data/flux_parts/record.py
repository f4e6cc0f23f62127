"""Records FLUX's encoders and autoencoder at tiny sizes.

``python record.py FOLDER`` with diffusers 0.42, transformers 5 and torch on a CPU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

CLIP = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
# The release says 2, and the highest token counts; a newer one names the token.
ENDS = {"clip": 2, "clip_named": 57}
T5 = {
    "vocab_size": 50,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 3,
    "num_heads": 5,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
    "model_type": "t5",
}
VAE = {
    "block_out_channels": [8, 16, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "in_channels": 3,
    "out_channels": 3,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "mid_block_add_attention": True,
    "act_fn": "silu",
}


def main(folder: Path) -> None:
    """Writes all files."""
    torch.manual_seed(18)
    for name, end in ENDS.items():
        options = {**CLIP, "eos_token_id": end}
        model = drawn(CLIPTextModel(CLIPTextConfig(**options)))
        ids = torch.randint(3, 56, (2, 9))
        ids[0, 5:], ids[1, 8:] = 57, 57
        with torch.no_grad():
            said = model(ids)
        save(
            folder / f"{name}.npz",
            model,
            options,
            {
                "ids": ids,
                "tokens": said.last_hidden_state,
                "pooled": said.pooler_output,
            },
        )
    model = drawn(T5EncoderModel(T5Config(**T5)))
    ids = torch.randint(2, 50, (2, 30))
    ids[0, 20:] = 0
    with torch.no_grad():
        said = model(ids).last_hidden_state
    save(folder / "t5.npz", model, T5, {"ids": ids, "tokens": said})
    model = drawn(AutoencoderKL(**VAE))
    pictures = torch.rand(2, 3, 16, 24) * 2 - 1
    latents = torch.randn(2, 4, 4, 6)
    with torch.no_grad():
        given = model.encode(pictures).latent_dist
        decoded = model.decode(latents / 0.3611 + 0.1159).sample
    save(
        folder / "vae.npz",
        model,
        {**VAE, "_class_name": "AutoencoderKL"},
        {
            "pictures": pictures,
            "mean": given.mean,
            "logvar": given.logvar,
            "latents": latents,
            "decoded": decoded,
        },
    )


def drawn(model: Any) -> Any:
    """The model with other numbers than it starts from, of which many are 0."""
    with torch.no_grad():
        for name, x in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            fan = x[0].numel() if x.ndim > 1 else 100
            x.copy_(torch.randn_like(x) / fan**0.5 + (1.0 if norm else 0.0))
    return model.eval()


def save(file: Path, model: Any, options: Any, arrays: dict[str, Any]) -> None:
    """Writes what was given and said, and the weights."""
    tensors = {f"w/{n}": x.detach().numpy() for n, x in model.state_dict().items()}
    given = {name: x.numpy() for name, x in arrays.items()}
    np.savez_compressed(file, config=json.dumps(options), **given, **tensors)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
