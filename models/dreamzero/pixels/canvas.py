"""Camera pictures on one canvas: cropped, resized, side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ...transforms import CentreCrop, Chain, FromUint8, On, Resize, ToUint8
from ...transforms.resize_fixed_point import ResizeFixedPoint
from ..model import DreamZeroModel
from .views import Views


@dataclass(frozen=True)
class PictureSizes:
    """How large pictures are on their way; hashable.

    Attributes:
        view: rows and columns of each view on the canvas, which has twice as many.
        camera: what frames are resized to as they come in, in whole numbers (the 5B
            model), or None to take them as they are.
        video: what the canvas is resized to for the VAE (the 5B model), or None.
        crop: the part of a frame that is kept.
    """

    view: tuple[int, int]
    camera: tuple[int, int] | None = None
    video: tuple[int, int] | None = None
    crop: float = 0.95

    @property
    def canvas(self) -> tuple[int, int]:
        """Rows and columns of the canvas."""
        return 2 * self.view[0], 2 * self.view[1]

    @property
    def encoded(self) -> tuple[int, int]:
        """Rows and columns of what the VAE is shown."""
        return self.canvas if self.video is None else self.video


def default_sizes(stride: int, model: DreamZeroModel) -> PictureSizes:
    """Sizes as the original has them for latents of a size.

    Args:
        stride: rows and columns of the VAE's pictures to a latent.
        model: the transformer.

    Returns:
        For a model with conditioning latents (14B), a canvas of what is encoded; for
        one without (5B), views of that size, in which cameras come and to which the
        canvas is brought.
    """
    height, width = (stride * n for n in model.latent_size)
    if model.dit.concat_first_frame_latent:
        return PictureSizes((height // 2, width // 2))
    return PictureSizes((height, width), (height, width), (height, width))


def one_view(sizes: PictureSizes) -> tuple[On, ...]:
    """What is done to the frames of each camera.

    Args:
        sizes: of the pictures.

    Returns:
        Transforms of an observation with a part ``"frames"``, uint8 (..., H, W, 3);
        the last one makes uint8 of them again.
    """
    start = () if sizes.camera is None else (ResizeFixedPoint(*sizes.camera),)
    steps = (
        *start,
        FromUint8(),
        CentreCrop(sizes.crop),
        Resize(*sizes.view),
        ToUint8(),
    )
    return tuple(On(("frames",), step) for step in steps)


@functools.partial(jax.jit, static_argnums=(0, 1))
def canvas(
    sizes: PictureSizes, views: Views, frames: Mapping[str, jax.Array]
) -> jax.Array:
    """Puts the views of robots onto their canvases, one compiled program.

    Args:
        sizes: of the pictures.
        views: the robots'.
        frames: of each camera, uint8 (B, T, H, W, 3); the cameras may differ in size.

    Returns:
        uint8 (B, T, 2 h, 2 w, 3) for views of (h, w).
    """
    transform = Chain(one_view(sizes))
    shown = [
        transform({"frames": frames[camera]})["frames"] for camera in views.cameras
    ]
    return side_by_side(views, *shown)


def side_by_side(
    views: Views, first: jax.Array, second: jax.Array, third: jax.Array
) -> jax.Array:
    """Three views on a canvas.

    Args:
        views: tells where each goes, see `Views`.
        first: (..., h, w, 3).
        second: likewise.
        third: likewise.

    Returns:
        (..., 2 h, 2 w, 3).
    """
    if views.wide_top:
        top = jnp.repeat(third, 2, axis=-2)
        bottom = jnp.concatenate([first, second], axis=-2)
    else:
        top = jnp.concatenate([first, third], axis=-2)
        bottom = jnp.concatenate([second, jnp.zeros_like(second)], axis=-2)
    return jnp.concatenate([top, bottom], axis=-3)


def as_video(sizes: PictureSizes, canvases: jax.Array) -> jax.Array:
    """Canvases as the VAE takes them.

    Args:
        sizes: of the pictures.
        canvases: uint8 (B, T, H, W, 3).

    Returns:
        float32 (B, 3, T, H', W') in [-1, 1].
    """
    video = FromUint8()(canvases) * 2 - 1
    if sizes.video is not None:
        video = Resize(*sizes.video, antialias=False)(video)
    return jnp.moveaxis(video, -1, 1)
