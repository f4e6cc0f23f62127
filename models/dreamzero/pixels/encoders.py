"""The frozen networks around the transformer, and what a control step asks of them."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from jax_stepcache.errors import brief
from jax_stepcache.network.params import Params

from ...encoders.frozen import FrozenEncoders, config_of
from ..model import DreamZeroModel
from . import programs
from .canvas import PictureSizes


@dataclass(frozen=True, eq=False)
class Encoders(FrozenEncoders):
    """The encoders of a robot; see `FrozenEncoders`. There are all of them."""

    def __post_init__(self) -> None:
        """Checks that each is what it should be.

        Raises:
            TypeError: naming what is of another kind, or missing.
        """
        super().__post_init__()
        if self.image is None:
            raise TypeError("encoders.image is None; give the params of a CLIPVision")

    def first(
        self, sizes: PictureSizes, frames: int, canvases: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes the frame that windows begin with; see `programs.begin_window`."""
        settings = self.vae_config, sizes, frames, self.vae.weights
        return programs.begin_window(*settings, canvases, tiles=self.tiles)

    def later(self, sizes: PictureSizes, canvases: jax.Array) -> jax.Array:
        """Encodes the frames since the last call; see `programs.go_on`."""
        settings = self.vae_config, sizes, self.vae.weights
        return programs.go_on(*settings, canvases, tiles=self.tiles)


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
    assert isinstance(encoders.image, Params)  # Or there would be no encoders.
    text, image = config_of(encoders.text), config_of(encoders.image)
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
