"""Records diffusers' `FluxPipeline` on the tiny FLUX.

``python record.py FOLDER OUT.npz`` with diffusers 0.42, transformers 5 and torch on a
CPU; FOLDER is what ``python -m jax_stepcache.models.flux.tiny`` has written.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline

PROMPT, NEGATIVE = "a cat walks", "a ball"
SIZE = {"height": 32, "width": 48, "num_inference_steps": 6}


def main(folder: str, out: str) -> None:
    """Writes tokens, latents and a picture, without and with true guidance."""
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    packed = pipeline._pack_latents(torch.from_numpy(noise), 1, 16, 4, 6)

    def made(kind: str, **more: Any) -> Any:
        options = {**SIZE, "guidance_scale": 3.5, **more}
        return pipeline(PROMPT, latents=packed, output_type=kind, **options).images

    def latents(**more: Any) -> np.ndarray:
        return pipeline._unpack_latents(made("latent", **more), 32, 48, 8).numpy()

    def ids(tokenizer: Any, length: int) -> np.ndarray:
        said = tokenizer(
            [PROMPT, NEGATIVE],
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="np",
        )
        return said.input_ids

    np.savez_compressed(
        out,
        noise=noise,
        ids=ids(pipeline.tokenizer, 77),
        ids_2=ids(pipeline.tokenizer_2, 512),
        latents=latents(),
        picture=made("np"),
        guided=latents(negative_prompt=NEGATIVE, true_cfg_scale=2.0),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
