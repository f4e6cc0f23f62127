"""The published sizes, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .config import DreamZeroConfig


class Size(NamedTuple):
    """A transformer and the latents that it was made for.

    Attributes:
        dit: the transformer's sizes.
        latent_size: rows and columns of a latent frame.
    """

    dit: DreamZeroConfig
    latent_size: tuple[int, int]


CONFIGS: Mapping[str, Size] = MappingProxyType(
    {
        # DreamZero-DROID: two outer cameras and the wrist's on a 352 x 640 canvas.
        "droid-14b": Size(DreamZeroConfig(dtype="bfloat16"), (44, 80)),
        # On the base of Wan2.2 TI2V-5B: 160 x 320, a VAE of 16 x 16.
        "wan22-5b": Size(
            DreamZeroConfig(
                model_type="ti2v",
                dim=3072,
                ffn_dim=14336,
                num_heads=24,
                num_layers=30,
                in_dim=48,
                out_dim=48,
                frame_seqlen=50,
                concat_first_frame_latent=False,
                dtype="bfloat16",
            ),
            (10, 20),
        ),
    }
)
