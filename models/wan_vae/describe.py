"""What a VAE costs, in numbers that need no weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import jax

from ..sizes.rows import Row, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import WanVAEModel
from .network.parameters import weight_shapes
from .streams import decoder_slots, encoder_slots

# Rows and columns of DreamZero-DROID's canvas.
_SHOWN = (352, 640)


def describe(model: WanVAEModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    shapes = weight_shapes(c)
    height, width = (side - side % c.spatial_stride for side in _SHOWN)
    encoding = encoder_slots(c, 1, height, width)
    latent = (height // c.spatial_stride, width // c.spatial_stride)
    decoding = decoder_slots(c, 1, *latent)
    shown = f"{height} x {width} pixels"
    return [
        *weight_rows(shapes, len(state_dict_shapes(c)), c.dtype),
        ("latent channels", c.z_dim, ""),
        ("frames to a latent", c.temporal_stride, ""),
        ("rows and columns to a latent", c.spatial_stride, ""),
        (f"slots of a stream to encode, {shown}", _bytes(encoding), "B"),
        (f"slots of a stream to decode, {shown}", _bytes(decoding), "B"),
    ]


def _bytes(structs: Iterable[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in structs)
