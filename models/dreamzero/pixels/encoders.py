"""The frozen networks around the transformer, and what a control step asks of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.errors import brief
from jax_stepcache.network.params import Params

from ...wan_vae import WanVAEConfig, WanVAEModel, decode, encode
from ..model import DreamZeroModel
from . import windows
from .canvas import PictureSizes, as_video

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Texts to token ids and mask, int (n, text_len) each; cleans, cuts and pads."""


@dataclass(frozen=True, eq=False)
class Encoders:
    """What makes numbers of words and pictures, and pictures of latents.

    Attributes:
        tokenize: see `Tokenizer`.
        text: of token ids and mask, int (n, text_len), the encoded prompts, float
            (n, text_len, text_dim), zero past their length.
        image: of pictures (n, 3, H, W) in [-1, 1] their features (n, 257, image_dim).
        vae: a Wan VAE with its weights.
    """

    tokenize: Tokenizer
    text: Callable[[np.ndarray, np.ndarray], jax.Array]
    image: Callable[[jax.Array], jax.Array]
    vae: Params

    def __post_init__(self) -> None:
        """Checks what is called, and that the VAE is one.

        Raises:
            TypeError: naming what is of another kind.
        """
        for name in ("tokenize", "text", "image"):
            if not callable(getattr(self, name)):
                raise TypeError(
                    f"encoders.{name} is {brief(getattr(self, name))}; give a function"
                )
        model = self.vae.model if isinstance(self.vae, Params) else None
        if not isinstance(model, WanVAEModel):
            raise TypeError(
                f"encoders.vae is {brief(self.vae)}; give the params of a Wan VAE"
            )

    @property
    def vae_config(self) -> WanVAEConfig:
        """The VAE's sizes."""
        return self.vae.model.config  # pyright: ignore


def check_encoders(
    encoders: Encoders, sizes: PictureSizes, model: DreamZeroModel
) -> None:
    """Checks that what the VAE makes is what the transformer takes.

    Raises:
        TypeError: if the sizes are none.
        ValueError: if the VAE has other channels, or pictures are of another size.
    """
    if not isinstance(sizes, PictureSizes):
        raise TypeError(f"pictures is {brief(sizes)}; give a PictureSizes")
    config = encoders.vae_config
    if config.z_dim != model.dit.out_dim:
        raise ValueError(
            f"the VAE has {config.z_dim} channels; the transformer takes "
            f"{model.dit.out_dim}"
        )
    if config.temporal_stride != 4:
        raise ValueError(
            f"the VAE makes a latent frame of {config.temporal_stride} frames; "
            "sessions show it four"
        )
    wanted = tuple(config.spatial_stride * n for n in model.latent_size)
    if sizes.encoded != wanted:
        raise ValueError(
            f"pictures of {sizes.encoded} would be encoded; latents of "
            f"{model.latent_size} need {wanted}"
        )


def default_sizes(encoders: Encoders, model: DreamZeroModel) -> PictureSizes:
    """Sizes as the original has them for latents of a size.

    Args:
        encoders: with the VAE.
        model: the transformer.

    Returns:
        For a model with conditioning latents (14B), a canvas of what is encoded; for
        one without (5B), views of that size, in which cameras come and to which the
        canvas is brought.
    """
    stride = encoders.vae_config.spatial_stride
    height, width = (stride * n for n in model.latent_size)
    if model.dit.concat_first_frame_latent:
        return PictureSizes((height // 2, width // 2))
    return PictureSizes((height, width), (height, width), (height, width))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def begin_window(
    config: WanVAEConfig,
    sizes: PictureSizes,
    frames: int,
    weights: Any,
    canvases: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Encodes the frame that a window begins with.

    Args:
        config: the VAE's.
        sizes: of the pictures.
        frames: of the video to encode, zeros behind the first.
        weights: the VAE's.
        canvases: uint8 (B, T, H, W, 3).

    Returns:
        The frame, float32 (B, 3, H', W') in [-1, 1], for the image encoder; and the
        latents, float32 (B, z, 1 + (frames - 1) / 4, h, w).
    """
    first = as_video(sizes, windows.seed(canvases))
    latents = encode(config, weights, windows.with_zeros(first, frames))
    return first[:, :, 0], latents.astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def go_on(
    config: WanVAEConfig, sizes: PictureSizes, weights: Any, canvases: jax.Array
) -> jax.Array:
    """Encodes the frames since the last call.

    Args:
        config: the VAE's.
        sizes: of the pictures.
        weights: the VAE's.
        canvases: uint8 (B, T, H, W, 3), T of 4, 8 or 9.

    Returns:
        float32 (B, z, 3, h, w); a window goes on with the last two.
    """
    video = windows.for_latents(as_video(sizes, canvases))
    return encode(config, weights, video).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def film_of(config: WanVAEConfig, weights: Any, latents: jax.Array) -> jax.Array:
    """Decodes latents as one stream.

    Args:
        config: the VAE's.
        weights: its weights.
        latents: (B, z, n, h, w).

    Returns:
        uint8 (B, 4 n - 3, H, W, 3), truncated as in the original.
    """
    video = jnp.clip(decode(config, weights, latents).astype(jnp.float32), -1, 1)
    levels = jnp.clip((video + 1) * 127.5, 0, 255).astype(jnp.uint8)
    return jnp.moveaxis(levels, 1, -1)
