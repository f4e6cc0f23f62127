"""The frozen networks around the transformer, and what a control step asks of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.errors import brief
from jax_stepcache.loop.transfers import sent
from jax_stepcache.network.params import Params

from ... import clip_vision, umt5, wan_vae
from ...wan_vae import WanVAEConfig, decode, encode
from ..model import DreamZeroModel
from . import windows
from .canvas import PictureSizes, as_video

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Texts to token ids and mask, int (n, text_len) each; cleans, cuts and pads."""


@dataclass(frozen=True, eq=False)
class Encoders:
    """What makes numbers of words and pictures, and pictures of latents.

    Each lies where its weights do, which may be other devices than the transformer's:
    what they make is taken there.

    Attributes:
        tokenize: see `Tokenizer`.
        text: a UMT5 with its weights, which may be NumPy arrays; see `offloaded`.
        image: a CLIP image encoder with its weights.
        vae: a Wan VAE with its weights.
    """

    tokenize: Tokenizer
    text: Params
    image: Params
    vae: Params

    def __post_init__(self) -> None:
        """Checks that each is what it should be.

        Raises:
            TypeError: naming what is of another kind.
        """
        if not callable(self.tokenize):
            raise TypeError(
                f"encoders.tokenize is {brief(self.tokenize)}; give a function"
            )
        for name, kind in _KINDS.items():
            given = getattr(self, name)
            model = given.model if isinstance(given, Params) else None
            if not isinstance(model, kind):
                raise TypeError(
                    f"encoders.{name} is {brief(given)}; give the params of a "
                    f"{kind.__name__.removesuffix('Model')}"
                )

    @property
    def vae_config(self) -> WanVAEConfig:
        """The VAE's sizes."""
        return _config(self.vae)

    def prompts(self, ids: np.ndarray, mask: np.ndarray) -> jax.Array:
        """Encodes prompts.

        Args:
            ids: int (n, text_len), the tokens.
            mask: likewise, 1 where there is one.

        Returns:
            float32 (n, text_len, text_dim), zero past their length.
        """
        weights, *rest = sent((self.text.weights, ids, mask), self.text.weights)
        encoded = umt5.encode(_config(self.text), weights, *rest)
        return encoded.astype(jnp.float32)

    def features(self, pictures: jax.Array) -> jax.Array:
        """Looks at pictures.

        Args:
            pictures: float32 (n, 3, H, W) in [-1, 1].

        Returns:
            float32 (n, 257, image_dim).
        """
        last = jnp.moveaxis(pictures, 1, -1)
        seen = clip_vision.encode(_config(self.image), self.image.weights, last)
        return seen.astype(jnp.float32)

    def offloaded(self) -> Encoders:
        """The same with the text encoder's weights on the host between prompts.

        It is by far the largest, and runs once a prompt: its weights are sent to the
        default device then, and dropped there afterwards.

        Returns:
            Encoders that take no memory of the device for it.
        """
        weights = jax.device_get(self.text.weights)
        return replace(self, text=Params(weights, self.text.model))


_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "text": umt5.UMT5Model,
        "image": clip_vision.CLIPVisionModel,
        "vae": wan_vae.WanVAEModel,
    }
)


def _config(params: Params) -> Any:
    """The sizes of an encoder."""
    model: Any = params.model
    return model.config


def check_encoders(
    encoders: Encoders, sizes: PictureSizes, model: DreamZeroModel
) -> None:
    """Checks that what the VAE makes is what the transformer takes.

    Raises:
        TypeError: if the sizes are none.
        ValueError: if something is wider or narrower, or pictures of another size.
    """
    if not isinstance(sizes, PictureSizes):
        raise TypeError(f"pictures is {brief(sizes)}; give a PictureSizes")
    config, dit = encoders.vae_config, model.dit
    text, image = _config(encoders.text), _config(encoders.image)
    wanted = {
        "the VAE's channels": (config.z_dim, dit.out_dim),
        "the text encoder's width": (text.dim, dit.text_dim),
    }
    if dit.image_dim is not None:
        wanted |= {
            "the image encoder's width": (image.dim, dit.image_dim),
            "the image encoder's tokens": (image.tokens, dit.image_len),
        }
    for what, (given, taken) in wanted.items():
        if given != taken:
            raise ValueError(f"{what}: {given}; the transformer takes {taken}")
    if config.temporal_stride != 4:
        raise ValueError(
            f"the VAE makes a latent frame of {config.temporal_stride} frames; "
            "sessions show it four"
        )
    needed = tuple(config.spatial_stride * n for n in model.latent_size)
    if sizes.encoded != needed:
        raise ValueError(
            f"pictures of {sizes.encoded} would be encoded; latents of "
            f"{model.latent_size} need {needed}"
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
