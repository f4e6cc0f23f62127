"""Tiny sizes of what stands around a transformer of Wan's family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .. import clip_vision, umt5, wan_vae

TEXT = umt5.UMT5Config(
    vocab=800, dim=24, dim_attn=32, dim_ffn=40, num_heads=4, num_layers=2
)
IMAGE = clip_vision.CLIPVisionConfig(
    image_size=32, patch_size=2, dim=32, num_heads=2, num_layers=3, out_dim=12
)
VAES: Mapping[str, wan_vae.WanVAEConfig] = MappingProxyType(
    {
        "2.1": wan_vae.WanVAEConfig(dim=4, num_res_blocks=1),
        "2.2": wan_vae.WanVAEConfig(dim=4, z_dim=48, num_res_blocks=1, dec_dim=6),
    }
)
"""Of both kinds, with strides and latent channels of the released ones."""
