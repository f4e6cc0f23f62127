"""Records diffusers' `FluxImg2ImgPipeline` on the tiny FLUX.

``python record_img2img.py FOLDER OUT.npz``, with what `record.py` needs. Noise is
handed in; and of what the autoencoder says of a picture the mean is taken, in place of
a draw, as this library has it.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import FluxImg2ImgPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

MODULE = "diffusers.pipelines.flux.pipeline_flux_img2img.randn_tensor"
PROMPT, NEGATIVE = "a cat walks", "a ball"
SIZE = {"height": 32, "width": 48, "num_inference_steps": 6}


def main(folder: str, out: str) -> None:
    """Writes tokens, latents and pictures, by strength, without and with guidance."""
    pipeline = FluxImg2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 16, 4, 6)).astype(np.float32)
    # Of another size and aspect than the picture that is made.
    image = rng.integers(0, 256, (37, 50, 3), np.uint8)

    def made(kind: str, strength: float, **more: Any) -> Any:
        options = {**SIZE, "guidance_scale": 3.5, "strength": strength, **more}
        drawn = mock.patch(MODULE, return_value=torch.from_numpy(noise))
        mean = mock.patch.object(
            DiagonalGaussianDistribution, "sample", lambda self, generator: self.mode()
        )
        with drawn, mean:
            return pipeline(
                PROMPT, image=Image.fromarray(image), output_type=kind, **options
            ).images

    def latents(strength: float, **more: Any) -> np.ndarray:
        made_of = made("latent", strength, **more)
        return pipeline._unpack_latents(made_of, 32, 48, 8).numpy()

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
        image=image,
        ids=ids(pipeline.tokenizer, 77),
        ids_2=ids(pipeline.tokenizer_2, 512),
        latents_60=latents(0.6),
        latents_75=latents(0.75),
        latents_100=latents(1.0),
        picture_75=made("np", 0.75),
        guided_75=latents(0.75, negative_prompt=NEGATIVE, true_cfg_scale=2.0),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
